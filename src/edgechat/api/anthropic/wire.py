"""Request schemas of Anthropic's Messages API as edgechat honours them."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StrictInt, Tag

from edgechat.api.fields import (
    FORMAT,
    WHOLE,
    Body,
    Foreign,
    Many,
    MaxTokens,
    Number,
    Schema,
    Stops,
    TopK,
    TopP,
    User,
    json_text,
)
from edgechat.api.parts import (
    BY_TYPE,
    UNREADABLE,
    Picture,
    PictureUrl,
    Taken,
    as_blocks,
    content_of,
    media_of,
    tag_of,
    type_of,
)
from edgechat.api.tools import Arguments, OtherTool, ToolName, by_type, checked, past_arguments
from edgechat.errors import InvalidRequest
from edgechat.media.inline import Sent
from edgechat.models.library import sampled
from edgechat.types import GenRequest, Message, ModelInfo, Sampling, Tool, ToolCall, ToolChoice

CHOICES: dict[str, ToolChoice] = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
# Claude Code's note to Anthropic's billing, first in its system prompt. It changes with each question: read with the
# rest, nothing that follows it would be found read already.
BILLING = "x-anthropic-billing-header:"
THINKS = {"enabled": True, "disabled": False, "adaptive": None}
CACHE_CONTROL = ("cache_control",)  # prefixes are kept without being asked to


class Text(Body):
    """A block of text."""

    inert: ClassVar = (*CACHE_CONTROL, "citations")

    type: Literal["text"]
    text: str


Texts = Many[Annotated[Text, Taken]]


class Inline(Body):
    """A picture in base64. What it is called counts for nothing: its bytes tell."""

    type: Literal["base64"]
    media_type: str = ""
    data: Picture


class Address(Body):
    """A picture in its address."""

    type: Literal["url"]
    url: PictureUrl


class Image(Body):
    """A block that is a picture."""

    inert: ClassVar = CACHE_CONTROL

    type: Literal["image"]
    source: Annotated[
        Annotated[Inline, Tag("base64 block")] | Annotated[Address, Tag("url block")],
        Discriminator(
            tag_of,
            custom_error_type="unreadable",
            custom_error_message="a picture comes as base64 or as a data: URL",
        ),
    ]

    @property
    def picture(self) -> Sent:
        """The picture itself."""
        return self.source.data if isinstance(self.source, Inline) else self.source.url


class ToolReference(Body):
    """A tool that a search among tools has found: all of them are known to the model here."""

    inert: ClassVar = ("tool_name",)

    type: Literal["tool_reference"]


Shown = Annotated[
    Annotated[Text, Tag("text block")]
    | Annotated[Image, Tag("image block")]
    | Annotated[ToolReference, Tag("tool_reference block")],
    BY_TYPE,
    Taken,
]


class ToolResult(Body):
    """What a tool said, in the user's turn."""

    inert: ClassVar = CACHE_CONTROL

    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[Many[Shown], BeforeValidator(as_blocks, str | list[Shown])] = Field(default_factory=list)
    is_error: StrictBool = False

    def value(self) -> Message:
        """The result as the rest of the house knows it; an error says so in words."""
        said = content_of(block for block in self.content if not isinstance(block, ToolReference))
        return Message("tool", ("Error: ", *said) if self.is_error else said, tool_call_id=self.tool_use_id)


class ToolUse(Body):
    """A call of a tool, in the assistant's turn."""

    inert: ClassVar = (*CACHE_CONTROL, "caller")

    type: Literal["tool_use"]
    id: str
    name: ToolName
    input: Arguments = Field(default_factory=dict)  # a text in clients that know OpenAI's

    def value(self) -> ToolCall:
        """The call as the rest of the house knows it."""
        return ToolCall(self.id, self.name, past_arguments(self.input))


class Thinking(Body):
    """What the assistant thought. Nothing is signed here: any signature is taken."""

    type: Literal["thinking"]
    thinking: str
    signature: str = ""


class Redacted(Body):
    """What the assistant thought, for Anthropic's eyes only."""

    inert: ClassVar = ("data",)

    type: Literal["redacted_thinking"]


class Hosted(Foreign):
    """What a tool on Anthropic's servers was asked, or found: said of it is what the assistant said. Passed over."""


_TOOLS = (
    "web_search",
    "web_fetch",
    "code_execution",
    "bash_code_execution",
    "text_editor_code_execution",
    "tool_search",
)
HOSTED = frozenset({"server_tool_use", "mcp_tool_use", "mcp_tool_result"}).union(f"{t}_tool_result" for t in _TOOLS)
Block = Annotated[
    Annotated[Hosted, Tag("hosted block")]
    | Annotated[Text, Tag("text block")]
    | Annotated[Image, Tag("image block")]
    | Annotated[ToolResult, Tag("tool_result block")]
    | Annotated[ToolUse, Tag("tool_use block")]
    | Annotated[Thinking, Tag("thinking block")]
    | Annotated[Redacted, Tag("redacted_thinking block")],
    Discriminator(
        lambda block: "hosted block" if type_of(block) in HOSTED else tag_of(block),
        custom_error_type="unreadable",
        custom_error_message=UNREADABLE,
    ),
    Taken,
]
ALLOWED = {
    "user": (Text, Image, ToolResult),
    "assistant": (Text, ToolUse, Thinking, Redacted, Hosted),
    "system": (Text,),
}


class Turn(Body):
    """One turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[Many[Block], BeforeValidator(as_blocks, str | list[Block])]

    def values(self) -> Iterator[Message]:
        """The turn as the rest of the house knows it: each result of a tool is a turn of its own there."""
        said = content_of(block for block in self.content if isinstance(block, Text | Image))
        if self.role == "assistant":
            thought = "".join(block.thinking for block in self.content if isinstance(block, Thinking))
            calls = tuple(block.value() for block in self.content if isinstance(block, ToolUse))
            yield Message("assistant", said, reasoning=thought, tool_calls=calls)
            return
        if self.role == "system":
            yield Message("system", said)
            return
        results = [block.value() for block in self.content if isinstance(block, ToolResult)]
        yield from results
        if said or not results:
            yield Message("user", said)


class ToolParam(Body):
    """A tool that the model may call."""

    inert: ClassVar = (*CACHE_CONTROL, "eager_input_streaming")

    type: Literal["custom"] | None = None
    name: ToolName
    description: str = ""
    input_schema: Schema
    strict: StrictBool = False

    def value(self) -> Tool:
        """The tool as the rest of the house knows it."""
        return Tool(self.name, self.description, json_text(self.input_schema), self.strict)


# A tool of OpenAI's is no server's tool, and is told so: it was meant to be called.
AnyTool = Annotated[
    Annotated[ToolParam, Tag("our tool")] | Annotated[OtherTool, Tag("other tool")], by_type("custom", "function", None)
]


class Choice(Body):
    """Which tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: StrictBool = False


class ThinkingChoice(Body):
    """Whether the model thinks first. A budget is a target, as it is Anthropic's: `max_tokens` is the limit."""

    inert: ClassVar = ("display",)

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[StrictInt, Field(ge=1024, lt=1 << 31), WHOLE] | None = None


class Format(Body):
    """A schema that the answer follows."""

    type: Literal["json_schema"]
    schema_: Annotated[Schema, Field(alias="schema")]


class OutputConfig(Body):
    """What the answer looks like."""

    inert: ClassVar = ("effort",)

    format: Format | None = None


class Metadata(Body):
    """Who asks: the unit of fair queueing."""

    user_id: User | None = None


class Prompt(Body):
    """What decides on the tokens that the model reads: the body of POST /v1/messages/count_tokens."""

    inert: ClassVar[tuple[str, ...]] = (
        *CACHE_CONTROL,
        "context_management",
        "speed",
        "user_profile_id",
        "workspace_id",
    )

    messages: Annotated[Many[Turn], Field(min_length=1, max_length=10_000)]
    model: str | None = None
    system: Annotated[Texts | None, BeforeValidator(as_blocks, str | list[Text] | None)] = None
    tools: Many[AnyTool] | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingChoice | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None  # how `output_config.format` was spelled

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        yield from (f"system.{at}" for at, block in enumerate(self.system or []) if block.text.startswith(BILLING))

    def form(self) -> Format | None:
        """The schema that the answer follows, however it was spelled."""
        return (self.output_config.format if self.output_config else None) or self.output_format

    def asked(self) -> GenRequest:
        """The question, without what only the answer needs. Raises InvalidRequest for what a shape cannot say."""
        self._check()
        choice = self.tool_choice or Choice(type="auto")
        system = "\n\n".join(block.text for block in self.system or [] if not block.text.startswith(BILLING))
        form = self.form()
        wanted = GenRequest(
            messages=(
                *((Message.of("system", system),) if system else ()),
                *(message for turn in self.messages for message in turn.values()),
            ),
            media=media_of(self.messages),
            tools=tuple(tool.value() for tool in self.tools or () if isinstance(tool, ToolParam)),
            tool_choice=CHOICES[choice.type],
            tool_names=() if choice.name is None else (choice.name,),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            schema=json_text(form.schema_) if form else None,
            thinking=THINKS[self.thinking.type] if self.thinking else None,
            thinking_hint="thinking",  # a budget that may be used
        )
        return checked(wanted, "messages", "tool_choice.name")

    def _check(self) -> None:
        for at, turn in enumerate(self.messages):
            for place, block in enumerate(turn.content):
                if not isinstance(block, ALLOWED[turn.role]):
                    param = f"messages.{at}.content.{place}"
                    raise InvalidRequest(f"{param}: a {block.type} block is not of the {turn.role}'s.", param)
        if self.messages[-1].role == "assistant":
            raise InvalidRequest(
                "messages: the last one is not the assistant's; no answer is begun for the model.", "messages"
            )
        choice = self.tool_choice
        if choice is not None and (choice.type == "tool") != (choice.name is not None):
            raise InvalidRequest("tool_choice has a name where its type is tool, and only there.", "tool_choice.name")


class MessagesRequest(Prompt):
    """Body of POST /v1/messages. A parameter that is null was not given; `max_tokens` may be left out here."""

    neutral: ClassVar = {"container": (), "mcp_servers": ([],), "thread": (), **FORMAT}  # nothing is kept or run here
    instead: ClassVar = {"response_format": "output_config.format"}
    inert: ClassVar = (*Prompt.inert, "diagnostics", "inference_geo", "service_tier")

    max_tokens: MaxTokens | None = None
    stream: StrictBool | None = None
    stop_sequences: Stops | None = None
    temperature: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    metadata: Metadata | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.stop_sequences and self.form():  # JSON is whole or none
            yield "stop_sequences"

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for. Raises InvalidRequest for what a shape cannot say."""
        return msgspec.structs.replace(
            self.asked(),
            sampling=sampled(defaults, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k),
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences or ()),
            user=(self.metadata.user_id if self.metadata else None) or "",
        )

    def _check(self) -> None:
        super()._check()
        budget = self.thinking.budget_tokens if self.thinking else None
        if budget is not None and self.max_tokens is not None and budget >= self.max_tokens:
            raise InvalidRequest("budget_tokens is less than max_tokens.", "thinking.budget_tokens")
