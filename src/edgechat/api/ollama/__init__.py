"""Ollama's API, for clients that speak nothing else.

routes.py has its answers, wire.py their bodies; listing.py manages models, vectors.py has the embeddings.
"""

from edgechat.api.ollama.routes import router

__all__ = ["router"]
