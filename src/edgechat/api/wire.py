"""The shapes of OpenAI's chat API as edgechat honours them.

Two tables tell the exceptions of fields.py: NEUTRAL, known parameters at the value that changes nothing, and INERT,
those that never change an answer.
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import Field, StrictBool, field_validator

from edgechat.api.fields import (
    Bias,
    Body,
    MaxTokens,
    MinP,
    Neutral,
    Penalty,
    Repetition,
    Seed,
    Stop,
    Stops,
    Strict,
    Temperature,
    TextPart,
    TopK,
    TopP,
    User,
    sampled,
    text_of,
    text_parts_only,
)
from edgechat.types import GenRequest, Message, Sampling

# Accepted at these values only: they ask for nothing.
NEUTRAL: Neutral = {
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


class ChatMessage(Strict):
    """One turn. Pictures and sound are refused: the served models read text."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: None = None
    refusal: None = None

    _text_only = field_validator("content", mode="before")(text_parts_only)

    def value(self) -> Message:
        """The turn as the rest of the house knows it."""
        return Message("system" if self.role == "developer" else self.role, text_of(self.content))


class StreamOptions(Strict):
    """What a stream carries besides the answer."""

    include_usage: StrictBool = False
    include_obfuscation: Literal[False] = False


class ChatRequest(Body):
    """Body of POST /v1/chat/completions. A parameter that is null was not given."""

    neutral: ClassVar = NEUTRAL
    inert: ClassVar = INERT

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    model: str | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repetition_penalty: Repetition | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    seed: Seed | None = None
    stop: Stop | Stops | None = None
    user: User | None = None

    def generation(self, defaults: Sampling, client: str, background: bool) -> GenRequest:
        """What the engine is asked for. What the request leaves open comes from `defaults`, the model's own."""
        names = Sampling.__struct_fields__
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        request = GenRequest(
            messages=tuple(message.value() for message in self.messages),
            sampling=sampled(defaults, **{name: getattr(self, name) for name in names}),
            stop=stop,
            client=f"{client}/{self.user or ''}",
            background=background,
            model=self.model or "",
        )
        limit = self.max_completion_tokens or self.max_tokens
        return msgspec.structs.replace(request, max_tokens=limit) if limit else request
