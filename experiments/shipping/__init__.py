"""What the dashboard opens on: one file a kind, each distils a finished run into a small JSON file.

Every file has `distil(source: Path) -> dict`, and `PLACE` where it does not belong to the dashboard's data. Replies
that comply with harmful requests are left out.
"""
