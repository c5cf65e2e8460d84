"""Observability of the server while it answers: limits and counts, who asks, what runs now."""
