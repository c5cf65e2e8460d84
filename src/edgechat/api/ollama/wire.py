"""Request schemas of Ollama's API as edgechat honours them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from pydantic import Field, StrictBool, StrictInt, Tag

from edgechat.api.fields import (
    ANY_OBJECT,
    FORMAT,
    WHOLE,
    Body,
    Many,
    MinP,
    Penalty,
    Repetition,
    Schema,
    Seed,
    Stop,
    Stops,
    Temperature,
    TopK,
    TopLogprobs,
    TopP,
    json_text,
)
from edgechat.api.parts import Picture, content_of, media_of
from edgechat.api.tools import Arguments, OtherTool, ToolName, by_type, checked, past_arguments
from edgechat.errors import InvalidRequest
from edgechat.models.library import sampled
from edgechat.settings import Seconds
from edgechat.types import GenRequest, Guards, Message, ModelInfo, Sampling, Tool, ToolCall

Form = Literal["", "json"] | Schema
UNLIMITED = (-1, -2)  # of num_predict: as much as fits
RANDOM = -1  # of seed


class Function(Body):
    """A called function, or one to call."""

    inert: ClassVar = ("index",)

    name: ToolName
    arguments: Arguments = Field(default_factory=dict)  # a text in clients that know OpenAI's


class Called(Body):
    """A call that the assistant made."""

    function: Function
    id: str | None = None
    type: Literal["function"] = "function"


class Turn(Body):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    tool_calls: Many[Called] | None = None
    tool_name: str | None = None
    name: str | None = None  # how a tool's turn spelled `tool_name`
    tool_call_id: str | None = None
    images: Many[Picture] | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.name and self.role != "tool":
            yield "name"

    @property
    def of_tool(self) -> str | None:
        """The tool whose result it is, however that was spelled."""
        return self.tool_name or self.name


class ToolFunction(Body):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: Schema | None = None


class ToolParam(Body):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction

    def value(self) -> Tool:
        """The tool as the rest of the house knows it."""
        function = self.function
        tool = Tool(function.name, function.description or "")
        return msgspec.structs.replace(tool, parameters=json_text(function.parameters)) if function.parameters else tool


AnyTool = Annotated[
    Annotated[ToolParam, Tag("our tool")] | Annotated[OtherTool, Tag("other tool")], by_type("function", None)
]


class Options(Body):
    """How the answer is drawn."""

    neutral: ClassVar = {
        "mirostat": (0,),
        "tfs_z": (1, 1.0),
        "typical_p": (1, 1.0),
    }
    # How the engine runs is the server's business; and what belongs to a mirostat that is off.
    inert: ClassVar = (
        "low_vram",
        "main_gpu",
        "mirostat_eta",
        "mirostat_tau",
        "num_batch",
        "num_ctx",
        "num_gpu",
        "num_keep",
        "num_thread",
        "numa",
        "penalize_newline",
        "use_mlock",
        "use_mmap",
    )

    num_predict: Annotated[StrictInt, Field(ge=min(UNLIMITED), lt=1 << 31), WHOLE] | None = None
    # Penalties look at all that was said (-1) or are off (0); 64 is Ollama's default.
    repeat_last_n: Annotated[Literal[-1, 0, 64], WHOLE] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repeat_penalty: Repetition | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | Stops | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if self.repeat_last_n == 64:
            yield "repeat_last_n"

    def applied(self, wanted: GenRequest, defaults: Sampling) -> GenRequest:
        """`wanted`, drawn like this. Raises InvalidRequest."""
        if self.num_predict == 0:
            raise InvalidRequest("num_predict is 1 or more, or -1 for as many as fit.", "options.num_predict")
        names = set(Sampling.__struct_fields__) & set(Options.model_fields)
        given = {name: getattr(self, name) for name in names}
        if self.seed == RANDOM:
            given["seed"] = None
        repetition = self.repeat_penalty
        if self.repeat_last_n == 0:
            repetition = 1.0
            given |= {"frequency_penalty": 0.0, "presence_penalty": 0.0}
        unlimited = self.num_predict in UNLIMITED
        return msgspec.structs.replace(
            wanted,
            sampling=sampled(defaults, repetition_penalty=repetition, **given),
            max_tokens=None if unlimited else self.num_predict,
            guards=Guards(cap=not unlimited),
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


class Named(Body):
    """A body that names a model."""

    model: str | None = None
    formerly: Annotated[str | None, Field(alias="name")] = None  # how `model` was spelled

    @property
    def name(self) -> str:
        """The model's name, however it was spelled, without Ollama's default tag."""
        return (self.model or self.formerly or "").removesuffix(":latest")


class Kept(Named):
    """A body that may say how long the model stays in memory."""

    keep_alive: Seconds | None = None


class Asked(Kept):
    """What both kinds of question have. Streaming is the default, as it is Ollama's."""

    neutral: ClassVar = {"shift": (False,), **FORMAT}
    instead: ClassVar = {"response_format": "format"}
    inert: ClassVar[tuple[str, ...]] = ("shift",)  # an answer ends with the context

    stream: StrictBool | None = None
    format: Form | None = None
    options: Options | None = None
    think: StrictBool | Literal["low", "medium", "high", "max"] | None = None  # how hard is the model's own business
    truncate: StrictBool | None = None  # the oldest turns go where all do not fit, or it is refused
    logprobs: StrictBool | None = None
    top_logprobs: TopLogprobs | None = None

    def without_effect(self, info: ModelInfo) -> Iterator[str]:
        yield from super().without_effect(info)
        if isinstance(self.think, str):
            yield "think"
        if self.format and self.options and self.options.stop:  # JSON of a schema is whole or none
            yield "options.stop"

    def _finished(self, wanted: GenRequest, defaults: Sampling) -> GenRequest:
        schema = None
        if self.format:
            schema = ANY_OBJECT if self.format == "json" else json_text(self.format)
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs go with logprobs: true.", "top_logprobs")
        wanted = msgspec.structs.replace(
            wanted,
            schema=schema,
            thinking=None if self.think is None else bool(self.think),
            truncation="disabled" if self.truncate is False else "auto",
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )
        return (self.options or Options()).applied(wanted, defaults)


class ChatRequest(Asked):
    """Body of POST /api/chat."""

    messages: Annotated[Many[Turn], Field(max_length=10_000)] = Field(default_factory=list)
    tools: Many[AnyTool] | None = None

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for."""
        tools = tuple(tool.value() for tool in self.tools or () if isinstance(tool, ToolParam))
        wanted = GenRequest(tuple(messages_of(self.messages)), media=media_of(self.messages), tools=tools)
        return self._finished(checked(wanted), defaults)


class GenerateRequest(Asked):
    """Body of POST /api/generate."""

    neutral: ClassVar = Asked.neutral | {
        "context": ([],),
        "suffix": ("",),
        "template": ("",),
    }

    prompt: str = ""
    system: str | None = None
    raw: StrictBool | None = None
    images: Many[Picture] | None = None

    def generation(self, defaults: Sampling) -> GenRequest:
        """What the engine is asked for."""
        if self.raw and self.system:
            raise InvalidRequest("system: a raw prompt goes to the model as it stands.", "system")
        if self.raw and self.images:
            raise InvalidRequest("images: a raw prompt has no place for them.", "images")
        if self.raw:
            return self._finished(GenRequest((), prompt=self.prompt), defaults)
        system = (Message.of("system", self.system),) if self.system else ()
        asked = Message("user", content_of(self.prompt, self.images or ()))
        return self._finished(GenRequest((*system, asked), media=media_of(self.images)), defaults)


def messages_of(turns: Sequence[Turn]) -> Iterator[Message]:
    """The turns as the rest of the house knows them."""
    open_calls: list[ToolCall] = []
    for at, turn in enumerate(turns):
        if turn.role == "tool":
            call = _answered(turn, open_calls)
            if call:
                open_calls.remove(call)
            name = turn.of_tool or (call.name if call else None)
            id = turn.tool_call_id or (call.id if call else f"call_{at}")
            yield Message("tool", content_of(turn.content, turn.images or ()), name=name, tool_call_id=id)
            continue
        open_calls = [
            ToolCall(called.id or f"call_{at}_{place}", called.function.name, past_arguments(called.function.arguments))
            for place, called in enumerate(turn.tool_calls or ())
        ]
        said = content_of(turn.content, turn.images or ())
        yield Message(turn.role, said, reasoning=turn.thinking or "", tool_calls=tuple(open_calls))


def _answered(result: Turn, calls: Sequence[ToolCall]) -> ToolCall | None:
    """Which of `calls` a tool's turn answers: the one with its id or else its name; without both, the next one."""
    id, name = result.tool_call_id, result.of_tool
    return next((call for call in calls if (call.id == id if id else not name or call.name == name)), None)
