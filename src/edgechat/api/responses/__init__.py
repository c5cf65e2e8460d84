"""OpenAI's Responses API, the part of it that needs no memory: wire.py has its shapes, routes.py route and answers."""

from edgechat.api.responses.routes import router

__all__ = ["router"]
