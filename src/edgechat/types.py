"""The nouns everyone uses.

Values only: no input, no output, no import from the package. Frozen msgspec structures: letters.py sends them.
"""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol, Self

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
ToolChoice = Literal["none", "auto", "required"]
Purpose = Literal["answer", "title"]
FinishReason = Literal["stop", "length", "tool_calls"]
StopReason = Literal["eos", "stop", "length", "loop", "tool_calls"]
Guard = Literal["cap", "loop", "repair", "close"]
Kind = Literal["picture", "sound", "document"]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An immutable value. Type checkers want `frozen=True` said again in every subclass."""


class ToolCall(Struct, frozen=True):
    """A call of a tool that the model asked for. `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


class Tool(Struct, frozen=True):
    """A function the model may call. `parameters` is the text of a JSON schema."""

    name: str
    description: str = ""
    parameters: str = '{"type":"object","properties":{}}'
    strict: bool = False  # its arguments always follow the schema


class Attachment(Struct, frozen=True):
    """A part of a message that is not text. Its bytes lie in the store of attachments, under their SHA-256 in hex."""

    sha256: str
    kind: Kind
    media_type: str  # as the bytes say themselves: image/png


Part = str | Attachment  # text is a part as it stands


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn (multimodal content: its parts in order). Text is as the user wrote it: never part of a template."""

    role: Role
    content: tuple[Part, ...]
    name: str | None = None  # who speaks, or which tool answered
    reasoning: str = ""  # an assistant's thinking, apart from its answer
    tool_calls: tuple[ToolCall, ...] = ()  # an assistant's
    tool_call_id: str | None = None  # the call that a tool's message answers

    @classmethod
    def of(cls, role: Role, text: str) -> Self:
        """A turn of text alone."""
        return cls(role, (text,) if text else ())

    @property
    def text(self) -> str:
        """What is said in words: all parts that are text, joined."""
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """The parts that are not text."""
        return tuple(part for part in self.content if not isinstance(part, str))


class Sampling(Struct, frozen=True):
    """How the next token is drawn. Temperature 0 takes the most likely one.

    Ranges are checked where a request enters (api/). `repetition_penalty` (1 = off) and the two OpenAI penalties
    (0 = off) count the answer's own tokens, not the prompt's.
    """

    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int = 40  # 0 = off
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    logit_bias: dict[int, float] = {}


class Guards(Struct, frozen=True):
    """What keeps a small model from harm. `Done.guards` names those that acted."""

    cap: bool = True  # an answer without `max_tokens` ends after CAP tokens
    loop: bool = True  # an answer caught repeating itself ends
    repair: bool = True  # a tool call of which only the syntax is broken is mended
    close: bool = True  # constrained JSON cut off by the limit is closed legally


UNTAUGHT = "its file has no chat template: it is talked to in ChatML, which it may never have learned."
CAP = 1024  # tokens of an answer whose length nobody chose


class GenRequest(Struct, frozen=True):
    """One answer to produce. `stop` strings and the end-of-turn token are not part of the answer.

    Either `messages`, which go through the model's template, or `prompt`, which is continued as it is: text, or ids.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    max_tokens: int | None = None  # None: CAP, or all that fits where that guard is off
    context: int | None = None  # tokens that messages and answer may take together; None: all that the model has here
    stop: tuple[str, ...] = ()
    media: dict[str, bytes] = {}  # what the messages' attachments are, by their SHA-256
    picture_tokens: dict[str, int] = {}  # that a picture may take at most, by its SHA-256; others: the usual number
    prompt: str | tuple[int, ...] | None = None
    goes_on: bool = False  # the last message is the beginning of this answer, the assistant's (assistant prefill)
    truncation: Literal["auto", "disabled"] = "auto"  # drop the oldest turns when they do not fit, or refuse
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tool_names: tuple[str, ...] = ()  # the only ones that may be called; empty: any
    parallel_tool_calls: bool = True  # more than one call in an answer
    schema: str | None = None  # text of the JSON schema that the answer follows
    logprobs: int | None = None  # so many alternatives per token; None: no log probabilities at all
    thinking: bool | None = None  # None: as the model's template has it
    thinking_hint: str = ""  # the parameter that only hints at it: told where the model does not think, not refused
    guards: Guards = Guards()
    background: bool = False  # after everyone who waits for an answer
    purpose: Purpose = "answer"  # what it is for, as the operator is told; it changes nothing else
    conversation: str = ""  # what `Forget` names
    user: str = ""  # the caller's own name for one of its people
    # Who asks: written by the model's handle, from the caller it was given to (models/handle.py).
    client: str = ""  # whose turn it is: the unit of fairness
    realm: str = ""  # prefixes are shared within it, never across


class Usage(Struct, frozen=True):
    """Token counts. `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0  # of the completion

    @property
    def total_tokens(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.completion_tokens


class Timing(Struct, frozen=True):
    """Where the time of one answer went, measured in the worker."""

    queue_ms: float
    prefill_ms: float
    decode_tok_s: float | None  # None: fewer than two tokens


class Event(Struct, frozen=True, tag=True):
    """What a reader of an answer gets, in order; `Done` or `Failed` is the last."""


class Queued(Event, frozen=True):
    """Taken in, at `position` of `waiting`: 1 is next, 0 starts now."""

    position: int
    waiting: int = 0
    eta_s: float | None = None  # until it starts, where the rate is known


class Loading(Event, frozen=True):
    """The model is being read; `fraction` from 0 to 1, None where it is not known."""

    stage: str
    fraction: float | None = None


class Media(Event, frozen=True):
    """A picture is being looked at: `done` of `total` of all the request's pictures, which `sha256` is one of."""

    sha256: str
    stage: str
    done: int
    total: int


class Prefill(Event, frozen=True):
    """`done` of `total` prompt tokens are read; `cached` of them had been read before."""

    done: int
    total: int
    cached: int = 0


class Scored(Struct, frozen=True):
    """A token, its bytes (maybe part of a character) and its log probability before sampling; then the likeliest."""

    token: int
    piece: bytes
    logprob: float
    top: "tuple[Scored, ...]" = ()


class Delta(Event, frozen=True):
    """More of the answer, in whole characters.

    `logprobs` covers the answer's tokens in order, where it was asked for; text of a character that is not whole yet
    comes later than its tokens.
    """

    text: str
    logprobs: tuple[Scored, ...] = ()


class Reasoning(Event, frozen=True):
    """More of what the model thinks before it answers; not part of the answer."""

    text: str


class Called(Event, frozen=True):
    """More of the tool call number `index`: `arguments` of all its events together are the text of a JSON object."""

    index: int
    id: str
    name: str
    arguments: str


class Encoded(Struct, frozen=True):
    """A part that is not text, as an answer's prompt had it: so many `tokens`. `cached`: it had been encoded before."""

    sha256: str
    kind: Kind
    tokens: int
    encode_ms: float
    cached: bool


class Done(Event, frozen=True):
    """The answer is complete. `stop_reason` says why more exactly than OpenAI's `finish_reason` can."""

    finish_reason: FinishReason
    stop_reason: StopReason
    usage: Usage
    timing: Timing
    dropped_messages: int = 0  # of the oldest ones, which did not fit
    stop: str | None = None  # the string of the request's that ended it
    guards: tuple[Guard, ...] = ()  # that acted
    unheld: tuple[str, ...] = ()  # hints not followed; places in schemas of tools that are not strict
    media: tuple[Encoded, ...] = ()  # what the prompt held besides text


class Failed(Event, frozen=True):
    """The answer ends here. `code` is one of errors.py."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None


class Answered(Event, frozen=True):
    """The one event that answers a question: tokens, a text, or the tokens read and vectors of 32-bit floats."""

    tokens: tuple[int, ...] = ()
    text: str = ""
    vectors: tuple[bytes, ...] = ()


Ending = Done | Failed | Answered  # events after which none comes
AnyEvent = Queued | Loading | Media | Prefill | Delta | Reasoning | Called | Done | Failed | Answered


class Tokenize(Struct, frozen=True, tag=True):
    """A question that one event answers: the tokens of `text` as plain content."""

    text: str


class Read(Struct, frozen=True, tag=True):
    """Another: the tokens that the model would read before it answers `request`."""

    request: GenRequest


class Detokenize(Struct, frozen=True, tag=True):
    """Another: the text that `tokens` stand for."""

    tokens: tuple[int, ...]


class Embed(Struct, frozen=True, tag=True):
    """Another: the meaning of each of `texts` as a vector of length 1."""

    texts: tuple[str | tuple[int, ...], ...]
    user: str = ""  # as of a GenRequest
    client: str = ""  # as of a GenRequest


AnyQuestion = Tokenize | Read | Detokenize | Embed


class ModelInfo(Struct, frozen=True):
    """What a loaded model turned out to be."""

    context: int  # tokens of one conversation
    cells: int  # tokens of all conversations that are in memory at once
    memory: int  # bytes, as planned
    vocabulary: int
    parameters: int
    recipe: str  # what people call the mixture of its types, such as Q4_K_M
    threads: int
    engine: str  # the engine's own description of its build
    notes: tuple[str, ...] = ()  # what turned out smaller than it could be, and why
    thinks: bool = False  # its template knows of thinking before the answer
    thinking_switch: bool = False  # … and can turn it off
    tells_names: bool = False  # … and of the names of speakers
    untaught: bool = False  # it brings no template: it is talked to in ChatML
    dimensions: int = 0  # of its vectors, if it gives vectors instead of answers
    later: int = 0  # bytes of `memory` that are taken only as conversations grow
    kernels: tuple[str, ...] = ()  # functions of our own that compute it
    family: str = ""  # its architecture, as its file names it: qwen2
    senses: tuple[Kind, ...] = ()  # what it takes beside text
    patch: int = 0  # pixels on a side of a picture that one token stands for


class Limits(Struct, frozen=True):
    """What one client may use. None: as the server's settings say; 0: no limit."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None  # prompt and answer together
    tokens_per_day: int | None = None
    streams: int | None = None  # answers under way or waiting
    max_tokens: int | None = None  # of one answer


class Caller(Struct, frozen=True):
    """Who asks, and what they may use. What one realm's callers wrote, others never see."""

    client: str  # the unit of fairness and limits: a key's id, or an address where no keys are asked for
    realm: str = ""
    operator: bool = False
    name: str | None = None  # of the key
    models: tuple[str, ...] = ()  # that it may use; none means all
    limits: Limits = Limits()

    def may_use(self, model: str) -> bool:
        """Whether the model of that name answers this caller."""
        return not self.models or model in self.models


class Served(Struct, frozen=True):
    """A model as clients see it."""

    name: str
    sha256: str
    recipe: str  # as in ModelInfo, of what tuning chose where that is served
    sampling: Sampling
    info: ModelInfo  # as it is loaded; as it would be, where it is not
    since: int  # Unix time
    loaded: bool = False
    size: int = 0  # bytes of its file; 0 where nobody knows


class Model(Protocol):
    """Whoever answers: a model in a worker of this machine, a remote endpoint, a cascade of two."""

    @property
    def name(self) -> str:
        """Its own name, whatever it was asked for by."""

    @property
    def served(self) -> Served:
        """What clients see of it. Raises ModelFileInvalid."""

    def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """Yield the events of one answer, `Loading` while the model is brought in. Closing the iterator cancels it.

        Raises what keeps it from being answered; after the first event that is a `Failed`.
        """

    async def ask(self, question: Tokenize | Read | Detokenize) -> Answered:
        """Answer a question about tokens. Raises what refuses it."""

    async def embed(self, question: Embed) -> Answered:
        """Give the vectors of its texts. Raises what refuses them."""

    async def load(self) -> None:
        """Bring it into memory before it is asked. Raises what keeps it out."""

    def keep(self, seconds: float) -> None:
        """How long it stays in memory unasked, from now on: 0 until its running answers end. Raises OperatorOnly."""
