"""Speed, ours and the plain way side by side in one run."""
