"""Ollama's embeddings: POST /api/embed, and the older /api/embeddings with one text."""

import time
from typing import Annotated, Any, ClassVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import Field

from edgechat.api.examples import QUESTION, Example
from edgechat.api.fields import Many, Text
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.ollama.errors import OLLAMA
from edgechat.api.ollama.routes import stay
from edgechat.api.ollama.wire import Kept
from edgechat.api.openai.embeddings import MOST_TEXTS, Dimensions, check_vectors, numbers
from edgechat.api.requests import TheCaller, TheRuntime, until_gone
from edgechat.api.routes import ANY, Asks, Facts, Need, Router
from edgechat.types import Embed, Model

EMBEDDED = Example({"input": QUESTION}, lambda: {"model": "qwen3-embedding-0.6b", "embeddings": [[0.0123, -0.0456]]})
EMBEDDED_ONE = Example({"prompt": QUESTION}, lambda: {"embedding": [0.0123, -0.0456]})

router = Router("/api", OLLAMA)


class EmbedRequest(Kept):
    """Body of POST /api/embed. A text that does not fit is refused, never cut, whatever `truncate` says."""

    inert: ClassVar = ("options", "truncate")

    input: Text | Annotated[Many[Text], Field(max_length=MOST_TEXTS)]
    dimensions: Dimensions | None = None


class OneRequest(Kept):
    """Body of POST /api/embeddings. Without a prompt the model is only loaded."""

    inert: ClassVar = ("options",)

    prompt: str = ""


@router.post(
    "/embed",
    Facts(Need.KEY, Asks.NOW, example=EMBEDDED, kinds=ANY),
    "The meaning of texts as vectors of length 1, in Ollama's shape",
    response_model=None,
)
async def embed(body: EmbedRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model, began = runtime.find(body.name, caller), time.monotonic_ns()
    check_vectors(model.served, body.dimensions)
    ignored = ignored_by(body, request, model.served.info)
    texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)

    async def answer() -> dict[str, Any]:
        vectors, read = await vectors_of(model, texts)
        return {
            "model": model.served.name,
            "embeddings": vectors,
            "total_duration": time.monotonic_ns() - began,
            "load_duration": 0,
            "prompt_eval_count": read,
            **beginning((*ignored, *stay(model, body))),
        }

    return await until_gone(request, answer())


@router.post(
    "/embeddings",
    Facts(Need.KEY, Asks.NOW, example=EMBEDDED_ONE, kinds=ANY),
    "The meaning of one text as a vector of length 1, in Ollama's older shape",
    response_model=None,
)
async def embeddings(body: OneRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.name, caller)
    check_vectors(model.served)
    ignored = ignored_by(body, request, model.served.info)

    async def answer() -> dict[str, Any]:
        vectors, _ = await vectors_of(model, (body.prompt,) if body.prompt else ())
        return {"embedding": vectors[0] if vectors else [], **beginning((*ignored, *stay(model, body)))}

    return await until_gone(request, answer())


async def vectors_of(model: Model, texts: tuple[str, ...]) -> tuple[list[list[float]], int]:
    """A vector for each of `texts`, and the tokens that were read; without texts the model is only loaded."""
    if not texts:
        await model.load()
        return [], 0
    told = await model.embed(Embed(texts))
    return [numbers(one) for one in told.vectors], len(told.tokens)
