"""Request schemas of OpenAI's Responses API as edgechat honours them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    Tag,
)

from edgechat.api.fields import (
    ANY_OBJECT,
    FORMAT,
    Body,
    Many,
    MaxTokens,
    Schema,
    Temperature,
    TopLogprobs,
    TopP,
    User,
    json_text,
)
from edgechat.api.openai.wire import UNHEARD, Effort
from edgechat.api.parts import media_of, picture_tokens_of
from edgechat.api.responses.items import Item, Known, as_items, turns_of
from edgechat.api.tools import OtherTool, ToolName, by_type, checked
from edgechat.errors import InvalidRequest
from edgechat.models.library import sampled
from edgechat.types import GenRequest, ModelInfo, Sampling, Tool, ToolChoice

LOGPROBS = "message.output_text.logprobs"


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


AnyTool = Annotated[
    Annotated[ToolParam, Tag("our tool")] | Annotated[OtherTool, Tag("other tool")], by_type("function")
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
