"""The forms in which an edit leaves the workbench, one file each."""
