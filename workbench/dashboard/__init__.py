"""The pages of app.py, one file a view, and the engine that owns the model.

    app.py -> site -> views, one file a page -> parts (figure and table, rack, tokens, links) -> engine -> the rest

One thread owns the model and serves a queue; pages only ever hand it a job and look at what it has written so far.
"""
