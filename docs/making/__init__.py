"""Pages of the site that are made from the code: one file a kind of page."""
