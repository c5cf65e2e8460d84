"""Drives any OpenAI-compatible address from the client's side: probes, and tables of what they found."""
