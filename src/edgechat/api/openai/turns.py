"""The messages of OpenAI's chat API, text and pictures."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from edgechat.api.fields import Body, Many
from edgechat.api.openai.functions import Call
from edgechat.api.parts import Detail, PictureUrl, content_of, is_told, looked_at, of_types, tag_of, type_of
from edgechat.media.inline import Sent
from edgechat.types import Message, ModelInfo

TEXTS = ("text", "input_text", "output_text")  # what the Responses API calls it is taken too


class TextPart(Body):
    """A text part of a message's content."""

    inert: ClassVar = ("cache_control", "prompt_cache_breakpoint")

    type: Literal["text", "input_text", "output_text"]
    text: str


class Image(Body):
    """Where a picture is: in the address itself. `detail` tells how closely it is looked at."""

    inert: ClassVar = ("format",)

    url: PictureUrl
    detail: Detail | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if not is_told(self.detail):
            yield "detail"


def _addressed(image: Any) -> Any:
    """A plain string as the address that it stands for."""
    return {"url": image} if isinstance(image, str) else image


class ImagePart(Body):
    """A picture in a message's content."""

    inert: ClassVar = ("cache_control", "prompt_cache_breakpoint")

    type: Literal["image_url"]
    image_url: Annotated[Image, BeforeValidator(_addressed, Image | str)]

    @property
    def picture(self) -> Sent:
        """The picture itself."""
        return looked_at(self.image_url.url, self.image_url.detail)


class RefusalPart(Body):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """What was said."""
        return self.refusal


BY_PART = Discriminator(lambda part: "text block" if type_of(part) in TEXTS else tag_of(part))
AnyPart = Annotated[
    Annotated[TextPart, Tag("text block")]
    | Annotated[RefusalPart, Tag("refusal block")]
    | Annotated[ImagePart, Tag("image_url block")],
    BY_PART,
]


class ChatMessage(Body):
    """One turn. Sound and documents are refused; pictures are the user's to send.

    An assistant's message may come back as it was sent: thinking, calls and the empty fields included.
    """

    neutral: ClassVar = {"audio": (), "function_call": ()}
    inert: ClassVar = ("annotations",)
    instead: ClassVar = {"function_call": "tool_calls"}

    role: Literal["system", "developer", "user", "assistant", "tool"]
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: Many[Call] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    content: str | Many[AnyPart] | None = Field(default=None, validate_default=True)

    @field_validator("content", mode="before")
    @classmethod
    def _readable(cls, content: Any) -> Any:
        return of_types(content, *TEXTS, "image_url", "refusal")

    @field_validator("tool_calls", "reasoning_content")
    @classmethod
    def _from_the_assistant(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("role", "assistant") != "assistant":
            raise ValueError("only an assistant's message has it")
        return value

    @field_validator("tool_call_id")
    @classmethod
    def _from_a_tool(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("role", "tool") != "tool":
            raise ValueError("only a tool's message has it")
        return value

    @field_validator("content")
    @classmethod
    def _shown_by_the_user(cls, content: Any, info: ValidationInfo) -> Any:
        role = info.data.get("role", "user")
        if role != "user" and isinstance(content, list) and any(isinstance(part, ImagePart) for part in content):
            raise ValueError(f"pictures are sent in messages with role 'user', and this one's is {role!r}")
        return content

    @field_validator("content")
    @classmethod
    def _needed(cls, content: Any, info: ValidationInfo) -> Any:
        said = info.data.get("tool_calls", True) or info.data.get("refusal")  # calls that are no calls are told as such
        if content is None and info.data.get("role", "tool") != "tool" and not said:
            raise ValueError("a message has content, unless it calls tools")
        return content

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.name and self.role != "tool" and not info.tells_names:
            yield "name"

    def value(self) -> Message:
        """The turn as the rest of the house knows it."""
        return Message(
            role="system" if self.role == "developer" else self.role,
            content=content_of(self.content or self.refusal),
            name=self.name or None,
            reasoning=self.reasoning_content or "",
            tool_calls=tuple(call.value() for call in self.tool_calls or ()),
            tool_call_id=self.tool_call_id,
        )
