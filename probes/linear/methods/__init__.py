"""One file, one way to fit a linear probe."""
