"""The shapes of OpenAI's chat API as edgechat honours them.

What is not honoured is refused by name, never accepted and ignored. Two tables tell the exceptions: NEUTRAL, known
parameters at the value that changes nothing, and INERT, those that never change an answer.
"""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator

from edgechat.types import GenRequest, Message, Sampling

# Accepted at these values only: they ask for nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "truncation": ("disabled",),
}
# Accepted at any value: they say something about the request, not about the answer.
INERT = ("metadata", "parallel_tool_calls")

Number = StrictFloat | StrictInt
Seed = Annotated[StrictInt, Field(ge=-(1 << 63), lt=1 << 63)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]


class Strict(BaseModel):
    """A JSON object with no field but the named ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextPart(Strict):
    """A text part of a message's content."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One turn. Pictures and sound are refused: the served models read text."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: None = None
    refusal: None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_only(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else []:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind != "text":
                raise ValueError(f"a part of type {kind!r} cannot be read: the served model reads text only")
        return content

    def value(self) -> Message:
        """The turn as the rest of the house knows it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: StrictBool = False
    include_obfuscation: Literal[False] = False


class ChatRequest(Strict):
    """Body of POST /v1/chat/completions. A parameter that is null was not given."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, lt=1 << 31)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, lt=1 << 31)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0, lt=1 << 20)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=10)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[int, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if not _asks_nothing(name, value)}

    def generation(self, defaults: Sampling, client: str, background: bool) -> GenRequest:
        """What the engine is asked for. What the request leaves open comes from `defaults`, the model's own.

        Temperature 0 means the most likely token: then a default repetition penalty does not bend it.
        """
        if self.temperature == 0:
            defaults = msgspec.structs.replace(defaults, repetition_penalty=1.0)
        names = Sampling.__struct_fields__
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        limit = self.max_completion_tokens or self.max_tokens
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        request = GenRequest(
            messages=tuple(message.value() for message in self.messages),
            sampling=msgspec.structs.replace(defaults, **given),
            stop=stop,
            client=f"{client}/{self.user or ''}",
            background=background,
        )
        return msgspec.structs.replace(request, max_tokens=limit) if limit else request


def _asks_nothing(name: str, value: Any) -> bool:
    """Whether a known parameter has a value that changes nothing. True is not 1 here."""
    neutral = NEUTRAL.get(name, ())
    return (
        name in INERT
        or (name in NEUTRAL and value is None)
        or any(type(value) is type(one) and value == one for one in neutral)
    )
