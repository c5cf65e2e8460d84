"""Tokenization, text to a model's tokens and back: POST /tokenize, POST /detokenize."""

from typing import Annotated, Any

from pydantic import Field

from edgechat.api.examples import Example
from edgechat.api.fields import Many, Strict, TokenId
from edgechat.api.requests import TheCaller, TheRuntime
from edgechat.api.routes import Facts, Need, Router
from edgechat.types import Detokenize, Tokenize

CUT = Example({"content": "Hello!"}, lambda: {"tokens": [9707, 0], "count": 2})
JOINED = Example({"tokens": [9707, 0]}, lambda: {"content": "Hello!"})

router = Router()


class Text(Strict):
    """Body of POST /tokenize."""

    content: str
    model: str | None = None


class Tokens(Strict):
    """Body of POST /detokenize."""

    tokens: Annotated[Many[TokenId], Field(max_length=1 << 20)]
    model: str | None = None


@router.post(
    "/tokenize", Facts(Need.KEY, example=CUT), "The tokens of a text taken as plain content: no control token comes out"
)
async def tokenize(body: Text, runtime: TheRuntime, caller: TheCaller) -> dict[str, Any]:
    told = await runtime.find(body.model, caller).ask(Tokenize(body.content))
    return {"tokens": told.tokens, "count": len(told.tokens)}


@router.post(
    "/detokenize", Facts(Need.KEY, example=JOINED), "The text that tokens stand for; control tokens stand for none"
)
async def detokenize(body: Tokens, runtime: TheRuntime, caller: TheCaller) -> dict[str, str]:
    told = await runtime.find(body.model, caller).ask(Detokenize(tuple(body.tokens)))
    return {"content": told.text}
