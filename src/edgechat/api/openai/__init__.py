"""OpenAI's dialect: chat, completions, embeddings and tokens."""
