"""OpenAI's embeddings: POST /v1/embeddings, for a model whose file says how to pool."""

import base64
import struct
from typing import Annotated, Any, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import Field, StrictInt

from edgechat.api.examples import QUESTION, Example
from edgechat.api.fields import Body, Many, Text, Tokens, User, texts_of
from edgechat.api.ignored import beginning, ignored_by
from edgechat.api.requests import TheCaller, TheRuntime, check_vocabulary, until_gone
from edgechat.api.routes import ANY, Asks, Facts, Need, Router
from edgechat.errors import InvalidRequest
from edgechat.types import Embed, Served

MOST_TEXTS = 2048  # as OpenAI's

Dimensions = Annotated[StrictInt, Field(ge=1, lt=1 << 31)]

router = Router("/v1")


class EmbeddingRequest(Body):
    """Body of POST /v1/embeddings. A parameter that is null was not given."""

    input: Text | Tokens | Annotated[Many[Text] | Many[Tokens], Field(min_length=1, max_length=MOST_TEXTS)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Dimensions | None = None  # the model's own: no vector is cut
    user: User | None = None


EMBEDDED = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
    "model": "qwen3-embedding-0.6b",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
EXAMPLE = Example({"input": QUESTION}, lambda: EMBEDDED)


@router.post(
    "/embeddings",
    Facts(Need.KEY, Asks.NOW, example=EXAMPLE, kinds=ANY),
    "The meaning of texts as vectors of length 1",
    response_model=None,
)
async def embeddings(body: EmbeddingRequest, request: Request, runtime: TheRuntime, caller: TheCaller) -> Response:
    model = runtime.find(body.model, caller)
    served = model.served
    check_vectors(served, body.dimensions)
    ignored = ignored_by(body, request, served.info)
    texts = texts_of(body.input)
    for text in texts:
        check_vocabulary(served, text if isinstance(text, tuple) else (), "input")

    async def answer() -> dict[str, Any]:
        told = await model.embed(Embed(texts, body.user or ""))
        as_text = body.encoding_format == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(one).decode() if as_text else numbers(one),
            }
            for index, one in enumerate(told.vectors)
        ]
        usage = {"prompt_tokens": len(told.tokens), "total_tokens": len(told.tokens)}
        return {"object": "list", "data": data, "model": served.name, "usage": usage, **beginning(ignored)}

    return await until_gone(request, answer())


def check_vectors(served: Served, dimensions: int | None = None) -> None:
    """Raise InvalidRequest unless the model gives vectors, of that many numbers where somebody counts on it."""
    if not served.info.dimensions:
        raise InvalidRequest(f"{served.name} answers; it gives no embeddings: it has no pooling.", "model")
    if dimensions not in (None, served.info.dimensions):
        raise InvalidRequest(f"{served.name} gives vectors of {served.info.dimensions} numbers only.", "dimensions")


def numbers(vector: bytes) -> list[float]:
    """The numbers of a vector of 32-bit floats."""
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))
