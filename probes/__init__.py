"""Reads, never edits: linear probes, lenses, attribution, patching, monitors."""
