"""Ollama's API, for clients that speak nothing else.

wire.py has its shapes, routes.py its routes and answers.
"""

from edgechat.api.ollama.routes import router

__all__ = ["router"]
