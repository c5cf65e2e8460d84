"""llama.cpp: the engine, the embedder, and what a model will take in memory before it is loaded."""
