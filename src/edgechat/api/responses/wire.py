"""Request schemas of OpenAI's Responses API as edgechat honours them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    field_validator,
)

from edgechat.api.fields import (
    ANY_OBJECT,
    FORMAT,
    Body,
    Foreign,
    Many,
    MaxTokens,
    Schema,
    Temperature,
    TopLogprobs,
    TopP,
    User,
    json_text,
)
from edgechat.api.openai.turns import BY_PART, TEXTS, RefusalPart
from edgechat.api.openai.wire import UNHEARD, Effort
from edgechat.api.parts import (
    Detail,
    PictureUrl,
    as_blocks,
    content_of,
    is_told,
    looked_at,
    media_of,
    of_types,
    picture_tokens_of,
    tag_of,
    type_of,
)
from edgechat.api.tools import Arguments, ToolName, checked, past_arguments
from edgechat.errors import InvalidRequest
from edgechat.media.inline import Sent
from edgechat.models.library import sampled
from edgechat.types import GenRequest, Message, ModelInfo, Sampling, Tool, ToolCall, ToolChoice

ECHOED = ("status",)  # of items that come from an earlier response
LOGPROBS = "message.output_text.logprobs"
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


class CallOutput(Echoed):
    """What the tool said."""

    inert: ClassVar = ECHOED

    type: Literal["function_call_output"]
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
    if not isinstance(item, dict) or item.get("type") is not None:
        return tag_of(item)
    return "item_reference block" if set(item) - {"type"} == {"id"} else "message block"


Item = Annotated[
    Annotated[Turn, Tag("message block")]
    | Annotated[Call, Tag("function_call block")]
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
Known = Turn | Call | CallOutput | Thought | Hosted
AnyItem = Known | Reference


def as_items(content: Any) -> Any:
    """A plain string as the user's message that it stands for."""
    return [{"role": "user", "content": content}] if isinstance(content, str) else content


class ToolParam(Body):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: Schema | None = None
    strict: StrictBool | None = None

    def value(self) -> Tool:
        """The tool as the rest of the house knows it."""
        tool = Tool(self.name, self.description or "", strict=bool(self.strict))
        return tool if self.parameters is None else msgspec.structs.replace(tool, parameters=json_text(self.parameters))


class OtherTool(Foreign):
    """A tool that somebody else runs, such as a search of the web: it is not offered to the model."""


AnyTool = Annotated[
    Annotated[ToolParam, Tag("function block")] | Annotated[OtherTool, Tag("other block")],
    Discriminator(lambda tool: "function block" if type_of(tool) == "function" else "other block"),
]


class NamedTool(Body):
    """One tool, by its name."""

    type: Literal["function"]
    name: str


class AllowedTools(Body):
    """Some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[Many[NamedTool], Field(min_length=1)]


class Format(Body):
    """What kind of text the answer is."""

    inert: ClassVar = ("name", "description")

    type: Literal["text", "json_object", "json_schema"]
    schema_: Annotated[Schema | None, Field(alias="schema")] = None
    strict: StrictBool | None = None  # it is always followed

    def text(self) -> str | None:
        """The schema that the answer follows, if any."""
        if self.type == "json_schema" and self.schema_ is None:
            raise InvalidRequest("text.format of type json_schema has a schema.", "text.format.schema")
        if self.type == "json_schema":
            return json_text(self.schema_)
        return ANY_OBJECT if self.type == "json_object" else None


class TextOptions(Body):
    """What the answer looks like."""

    inert: ClassVar = ("verbosity",)

    format: Format | None = None


class ReasoningOptions(Body):
    """Whether the model thinks first; how much is its own business."""

    inert: ClassVar = ("summary", "generate_summary")

    effort: Effort | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.effort in UNHEARD:
            yield "effort"


class ResponsesRequest(Body):
    """Body of POST /v1/responses. A parameter that is null was not given."""

    # What would run something, or keep it for long.
    neutral: ClassVar = {
        "access_programs": (),
        "background": (False,),
        "background_options": (),
        "conversation": (),
        "image": (),
        "moderation": (),
        "prompt": (),
        **FORMAT,
    }
    instead: ClassVar = {"response_format": "text.format"}
    inert: ClassVar = (
        "client_metadata",
        "context_management",
        "max_tool_calls",  # of tools that the server runs
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "stream_options",
    )

    input: Annotated[Many[Item], Field(min_length=1, max_length=10_000), BeforeValidator(as_items, str | list[Item])]
    model: str | None = None
    previous_response_id: str | None = None
    store: StrictBool | None = None  # kept for a while: memory.py
    include: Many[str] | None = None
    instructions: str | None = None
    stream: StrictBool | None = None
    max_output_tokens: MaxTokens | None = None
    top_logprobs: TopLogprobs | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    tools: Many[AnyTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: StrictBool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: User | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if set(self.include or ()) - {LOGPROBS}:
            yield "include"

    def functions(self) -> list[ToolParam]:
        """The tools that the model may call."""
        return [tool for tool in self.tools or () if isinstance(tool, ToolParam)]

    def generation(self, defaults: Sampling, conversation: Sequence[Known]) -> GenRequest:
        """What the engine is asked for, about `conversation`. Raises InvalidRequest for what a shape cannot say."""
        mode, names = self._choice()
        form = self.text.format if self.text else None
        effort = self.reasoning.effort if self.reasoning else None
        wanted = GenRequest(
            messages=tuple(turns_of(self.instructions, conversation)),
            media=media_of(conversation),
            picture_tokens=picture_tokens_of(conversation),
            sampling=sampled(defaults, temperature=self.temperature, top_p=self.top_p),
            max_tokens=self.max_output_tokens,
            truncation=self.truncation or "disabled",
            tools=tuple(tool.value() for tool in self.functions()),
            tool_choice=mode,
            tool_names=names,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            schema=form.text() if form else None,
            logprobs=self._logprobs(),
            thinking=None if effort is None else effort != "none",
            thinking_hint="reasoning.effort",
            user=self.user or "",
        )
        return checked(wanted, "input")

    def _logprobs(self) -> int | None:
        """Alternatives of each token; None where no log probabilities are asked for."""
        if LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise InvalidRequest(f"top_logprobs go with include: {LOGPROBS}.", "top_logprobs")
        return None

    def _choice(self) -> tuple[ToolChoice, tuple[str, ...]]:
        match self.tool_choice:
            case NamedTool(name=name):
                return "required", (name,)
            case AllowedTools(mode=mode, tools=tools):
                return mode, tuple(tool.name for tool in tools)
            case choice:
                return choice or "auto", ()


def turns_of(instructions: str | None, items: Iterable[Known]) -> list[Message]:
    """The conversation as the rest of the house knows it: one turn for all that the assistant did at once."""
    turns: list[Message] = [Message.of("system", instructions)] if instructions else []
    thought = ""
    for item in items:
        match item:
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
