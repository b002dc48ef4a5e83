"""One file, one question; settings beside it. What was tried, and what failed, is in LOG.md."""
