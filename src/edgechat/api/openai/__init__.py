"""OpenAI's chat API: POST /v1/chat/completions, GET /v1/models.

chat.py has its routes and answers, wire.py its body; the older completions, embeddings and tokens have a file each.
"""

from edgechat.api.openai.chat import router

__all__ = ["router"]
