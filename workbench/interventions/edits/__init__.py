"""One file, one way to change activations."""
