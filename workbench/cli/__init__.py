"""The command line: each command reads options, calls one function of the library, and shows what it returns."""
