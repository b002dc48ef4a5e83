"""One file, one way to find a line from activations alone."""
