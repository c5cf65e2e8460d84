"""Request schemas of Ollama's API as edgechat honours them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field, StrictBool, StrictInt

from edgechat.api.fields import (
    ANY_OBJECT,
    Body,
    Many,
    ManyStops,
    MinP,
    Penalty,
    Repetition,
    Schema,
    Seed,
    Stop,
    Strict,
    Temperature,
    TopK,
    TopP,
    json_text,
)
from edgechat.api.parts import Pictures, content_of
from edgechat.api.tools import ToolName, checked
from edgechat.errors import InvalidRequest
from edgechat.models.library import sampled
from edgechat.settings import Seconds
from edgechat.types import GenRequest, Guards, Message, Sampling, Tool, ToolCall

Form = Literal["", "json"] | Schema
UNLIMITED = -1  # of num_predict: as much as fits


class Function(Body):
    """A called function, or one to call."""

    inert: ClassVar = ("index",)

    name: ToolName
    arguments: dict[str, Any] = Field(default_factory=dict)


class Called(Strict):
    """A call that the assistant made."""

    function: Function
    id: str | None = None
    type: Literal["function"] = "function"


class Turn(Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    tool_calls: Many[Called] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    images: Pictures = None


class ToolFunction(Strict):
    """A function that the model may call."""

    name: ToolName
    description: str | None = None
    parameters: Schema | None = None


class ToolParam(Strict):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction

    def value(self) -> Tool:
        """The tool as the rest of the house knows it."""
        function = self.function
        tool = Tool(function.name, function.description or "")
        return msgspec.structs.replace(tool, parameters=json_text(function.parameters)) if function.parameters else tool


class Options(Body):
    """How the answer is drawn."""

    neutral: ClassVar = {
        "mirostat": (0,),
        # How the engine runs is the server's business; these values leave it to it.
        "low_vram": (False,),
        "main_gpu": (0,),
        "num_gpu": (-1, 0),
        "num_keep": (0,),
        "num_thread": (0,),
        "numa": (False,),
        "use_mmap": (True,),
        "use_mlock": (False,),
        "repeat_last_n": (-1,),
        "tfs_z": (1, 1.0),
        "typical_p": (1, 1.0),
        "penalize_newline": (True,),
    }
    inert: ClassVar = ("mirostat_eta", "mirostat_tau", "num_batch")  # of a mirostat that is off; of the prompt's slices

    num_predict: Annotated[StrictInt, Field(ge=UNLIMITED, lt=1 << 31)] | None = None
    num_ctx: Annotated[StrictInt, Field(ge=1, lt=1 << 31)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repeat_penalty: Repetition | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | ManyStops | None = None

    def applied(self, wanted: GenRequest, defaults: Sampling, context: int) -> GenRequest:
        """`wanted`, drawn like this. Raises InvalidRequest if the model's `context` is smaller than asked for."""
        if self.num_ctx is not None and self.num_ctx > context:
            raise InvalidRequest(f"num_ctx: the model is served with {context} tokens of context.", "options.num_ctx")
        if self.num_predict == 0:
            raise InvalidRequest("num_predict is 1 or more, or -1 for as many as fit.", "options.num_predict")
        names = set(Sampling.__struct_fields__) & set(Options.model_fields)
        given = {name: getattr(self, name) for name in names}
        unlimited = self.num_predict == UNLIMITED
        return msgspec.structs.replace(
            wanted,
            sampling=sampled(defaults, repetition_penalty=self.repeat_penalty, **given),
            max_tokens=None if unlimited else self.num_predict,
            guards=Guards(cap=not unlimited),
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
        )


class Named(Body):
    """A body that names a model."""

    model: str | None = None

    @property
    def name(self) -> str:
        """The model's name, without Ollama's default tag."""
        return (self.model or "").removesuffix(":latest")


class Asked(Named):
    """What both kinds of question have. Streaming is the default, as it is Ollama's."""

    neutral: ClassVar = {"logprobs": (False,), "top_logprobs": (0,)}

    keep_alive: Seconds | None = None
    stream: StrictBool | None = None
    format: Form | None = None
    options: Options | None = None
    think: StrictBool | None = None

    def _finished(self, wanted: GenRequest, defaults: Sampling, context: int) -> GenRequest:
        schema = None
        if self.format:
            schema = ANY_OBJECT if self.format == "json" else json_text(self.format)
        wanted = msgspec.structs.replace(wanted, schema=schema, thinking=self.think)
        return (self.options or Options()).applied(wanted, defaults, context)


class ChatRequest(Asked):
    """Body of POST /api/chat."""

    messages: Annotated[Many[Turn], Field(max_length=10_000)] = Field(default_factory=list)
    tools: Many[ToolParam] | None = None

    def generation(self, defaults: Sampling, context: int) -> GenRequest:
        """What the engine is asked for."""
        tools = tuple(tool.value() for tool in self.tools or ())
        wanted = GenRequest(tuple(messages_of(self.messages)), tools=tools)
        return self._finished(checked(wanted), defaults, context)


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
    images: Pictures = None

    def generation(self, defaults: Sampling, context: int) -> GenRequest:
        """What the engine is asked for."""
        if self.raw and self.system:
            raise InvalidRequest("system: a raw prompt goes to the model as it stands.", "system")
        system = (Message.of("system", self.system),) if self.system else ()
        asked = (
            GenRequest((), prompt=self.prompt) if self.raw else GenRequest((*system, Message.of("user", self.prompt)))
        )
        return self._finished(asked, defaults, context)


class ShowRequest(Named):
    """Body of POST /api/show."""

    neutral: ClassVar = {"verbose": (False,), "name": ()}


def messages_of(turns: Sequence[Turn]) -> Iterator[Message]:
    """The turns as the rest of the house knows them."""
    open_calls: list[ToolCall] = []
    for at, turn in enumerate(turns):
        if turn.role == "tool":
            call = _answered(turn, open_calls)
            if call:
                open_calls.remove(call)
            name = turn.tool_name or (call.name if call else None)
            id = turn.tool_call_id or (call.id if call else f"call_{at}")
            yield Message("tool", content_of(turn.content), name=name, tool_call_id=id)
            continue
        open_calls = [
            ToolCall(called.id or f"call_{at}_{place}", called.function.name, json_text(called.function.arguments))
            for place, called in enumerate(turn.tool_calls or ())
        ]
        yield Message(turn.role, content_of(turn.content), reasoning=turn.thinking or "", tool_calls=tuple(open_calls))


def _answered(result: Turn, calls: Sequence[ToolCall]) -> ToolCall | None:
    """Which of `calls` a tool's turn answers: the one with its id or else its name; without both, the next one."""
    id, name = result.tool_call_id, result.tool_name
    return next((call for call in calls if (call.id == id if id else not name or call.name == name)), None)
