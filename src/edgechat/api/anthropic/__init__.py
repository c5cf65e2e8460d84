"""Anthropic's Messages API: wire.py has its shapes, messages.py its routes and answers."""

from edgechat.api.anthropic.messages import router

__all__ = ["router"]
