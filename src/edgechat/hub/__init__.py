"""Where models come from, and what is on disk."""
