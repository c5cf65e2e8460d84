"""What a conversation of the Responses API is made of: its items, and the turns that they are."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from edgechat.api.fields import (
    Body,
    Foreign,
    Many,
)
from edgechat.api.openai.turns import BY_PART, TEXTS, RefusalPart
from edgechat.api.parts import (
    Detail,
    PictureUrl,
    as_blocks,
    content_of,
    is_told,
    looked_at,
    of_types,
    tag_of,
    type_of,
)
from edgechat.api.tools import Arguments, ToolName, past_arguments
from edgechat.media.inline import Sent
from edgechat.types import Message, ModelInfo, ToolCall

ECHOED = ("status",)  # of items that come from an earlier response
SHOWN = (*TEXTS, "input_image", "refusal")


class Text(Body):
    """A part of a message, or of what a tool said."""

    inert: ClassVar = ("annotations", "logprobs")

    type: Literal["input_text", "output_text", "text"]
    text: str


class Image(Body):
    """A picture. `detail` tells how closely it is looked at."""

    neutral: ClassVar = {"file_id": ()}  # no files are kept here
    instead: ClassVar = {"file_id": "image_url"}
    inert: ClassVar = ("prompt_cache_breakpoint",)

    type: Literal["input_image"]
    image_url: PictureUrl
    detail: Detail | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if not is_told(self.detail):
            yield "detail"

    @property
    def picture(self) -> Sent:
        """The picture itself."""
        return looked_at(self.image_url, self.detail)


def as_parts(content: Any) -> Any:
    """A plain string as the list of one part that it stands for."""
    return of_types(as_blocks(content), *SHOWN)


AnyPart = Annotated[
    Annotated[Text, Tag("text block")]
    | Annotated[Image, Tag("input_image block")]
    | Annotated[RefusalPart, Tag("refusal block")],
    BY_PART,
]
Parts = Annotated[Many[AnyPart], BeforeValidator(as_parts, str | list[AnyPart])]


class Echoed(Body):
    """An item that may come from an earlier response, with the id that it had there."""

    id: str | None = None


class Turn(Echoed):
    """A message."""

    inert: ClassVar = (*ECHOED, "phase")

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts

    @field_validator("content")
    @classmethod
    def _shown_by_the_user(cls, content: list[Text | Image], info: ValidationInfo) -> list[Text | Image]:
        role = info.data.get("role", "user")
        if role != "user" and any(isinstance(part, Image) for part in content):
            raise ValueError(f"pictures are sent in messages with role 'user', and this one's is {role!r}")
        return content


class Call(Echoed):
    """A call of a tool that an earlier response asked for."""

    neutral: ClassVar = {"namespace": ()}
    inert: ClassVar = (*ECHOED, "caller")

    type: Literal["function_call"]
    call_id: str
    name: ToolName
    arguments: Arguments = ""


class FreeCall(Echoed):
    """A call of a tool that takes free text: no such tool is offered here, but a conversation may tell of one."""

    neutral: ClassVar = {"namespace": ()}
    inert: ClassVar = (*ECHOED, "caller")

    type: Literal["custom_tool_call"]
    call_id: str
    name: ToolName
    input: str

    def call(self) -> Call:
        """The same as of a function, whose argument the text is."""
        return Call(type="function_call", call_id=self.call_id, name=self.name, arguments={"input": self.input})


class CallOutput(Echoed):
    """What the tool said."""

    inert: ClassVar = (*ECHOED, "name")

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: Parts = Field(default_factory=list)


class ReasoningPart(Body):
    """A part of what was thought."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class Thought(Echoed):
    """What was thought before the next item."""

    inert: ClassVar = (*ECHOED, "summary", "encrypted_content")

    type: Literal["reasoning"]
    content: Many[ReasoningPart] | None = None


class Hosted(Echoed, Foreign):
    """What a tool on OpenAI's servers did: said of it is what the assistant said. Passed over."""


HOSTED = frozenset({"mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "tool_search_output"}).union(
    f"{tool}_call"
    for tool in ("code_interpreter", "file_search", "image_generation", "mcp", "tool_search", "web_search")
)


class Reference(Body):
    """An item of a recent answer, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: str


def item_kind(item: Any) -> str:
    """`tag_of`, but an item without a type is a message, or a reference where it has nothing but an id."""
    if type_of(item) in HOSTED:
        return "hosted block"
    if type_of(item) == "custom_tool_call_output":
        return "function_call_output block"
    if not isinstance(item, dict) or item.get("type") is not None:
        return tag_of(item)
    return "item_reference block" if set(item) - {"type"} == {"id"} else "message block"


Item = Annotated[
    Annotated[Turn, Tag("message block")]
    | Annotated[Call, Tag("function_call block")]
    | Annotated[FreeCall, Tag("custom_tool_call block")]
    | Annotated[CallOutput, Tag("function_call_output block")]
    | Annotated[Thought, Tag("reasoning block")]
    | Annotated[Hosted, Tag("hosted block")]
    | Annotated[Reference, Tag("item_reference block")],
    Discriminator(
        item_kind,
        custom_error_type="unreadable",
        custom_error_message="an item of this type cannot be read here: only text is read, and no tools run here",
    ),
]
Known = Turn | Call | FreeCall | CallOutput | Thought | Hosted
AnyItem = Known | Reference


def as_items(content: Any) -> Any:
    """A plain string as the user's message that it stands for."""
    return [{"role": "user", "content": content}] if isinstance(content, str) else content


def turns_of(instructions: str | None, items: Iterable[Known]) -> list[Message]:
    """The conversation as the rest of the house knows it: one turn for all that the assistant did at once."""
    turns: list[Message] = [Message.of("system", instructions)] if instructions else []
    thought = ""
    for item in items:
        match item.call() if isinstance(item, FreeCall) else item:
            case Thought(content=content):
                thought += "".join(part.text for part in content or ())
            case Call(call_id=id, name=name, arguments=arguments):
                goes_on = bool(turns) and turns[-1].role == "assistant" and not thought
                last = turns.pop() if goes_on else Message("assistant", (), reasoning=thought)
                calls = (*last.tool_calls, ToolCall(id, name, past_arguments(arguments)))
                turns.append(msgspec.structs.replace(last, tool_calls=calls))
                thought = ""
            case CallOutput(call_id=id, output=output):
                turns.append(Message("tool", content_of(output), tool_call_id=id))
            case Turn(role=role, content=content):
                said = content_of(content)
                if role == "assistant":
                    turns.append(Message("assistant", said, reasoning=thought))
                    thought = ""
                elif role == "user":
                    turns.append(Message("user", said))
                elif len(turns) == 1 and turns[0].role == "system":
                    turns[0] = Message("system", (*turns[0].content, "\n\n", *said))
                else:
                    turns.append(Message("system", said))
    return turns
