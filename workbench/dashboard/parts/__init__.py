"""What pages are made of: the engine's state, figures with their tables, the rack, tokens, downloads."""
