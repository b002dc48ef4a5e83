"""One file, one lens."""
