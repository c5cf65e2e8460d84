"""Anthropic's Messages API: POST /v1/messages, POST /v1/messages/count_tokens.

wire.py has its shapes, messages.py its routes and answers.
"""

from edgechat.api.anthropic.messages import router

__all__ = ["router"]
