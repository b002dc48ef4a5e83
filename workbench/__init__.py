"""The Alignment Workbench."""
