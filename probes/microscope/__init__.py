"""One text, token by token and layer by layer: `looking.look` makes what `seen.Seen` holds and shows.

Nothing is imported here, so that what was seen before opens without torch.
"""
