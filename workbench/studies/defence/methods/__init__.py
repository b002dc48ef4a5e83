"""The defences, one file each."""
