"""OpenAI's Responses API, the part of it that needs no memory: POST /v1/responses.

wire.py has its shapes, routes.py its route and answers.
"""

from edgechat.api.responses.routes import router

__all__ = ["router"]
