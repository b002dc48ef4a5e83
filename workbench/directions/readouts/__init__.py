"""One file, one way to read a number from an activation."""
