"""The weight edits, one file each."""
