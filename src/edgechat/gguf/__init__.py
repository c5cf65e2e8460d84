"""GGUF files: their header read with suspicion, and their weights written again in another type."""
