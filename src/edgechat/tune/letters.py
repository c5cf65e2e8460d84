"""What the tuner asks of the process that measures, and what it gets back."""

import msgspec

from edgechat.tune.quality import Row
from edgechat.tune.speed import Cost, Pair
from edgechat.types import Struct

ENGINE = "llama_cpp"  # whose models can be tuned
PASSAGES = ("english", "chinese", "code")  # the calibration text
SCORED = 128  # tokens of a passage that are judged; times passages it stays far below 1,024 rows
FEW = 32  # of them, the first ones, for a first look


class Order(Struct, frozen=True, tag=True):
    """One piece of work. Paths are of files that were verified by the sender, or made here."""


class Costs(Order, frozen=True):
    """Time twins of `model` in each of `kinds`; they are written to `folder` and deleted again."""

    model: str
    folder: str
    kinds: tuple[str, ...]
    threads: int


class Read(Order, frozen=True):
    """Keep the log probabilities of `model` over the calibration text in the file `rows`."""

    model: str
    rows: str
    threads: int


class Recast(Order, frozen=True):
    """Write `model` to `target` with tensors in other `types`; see gguf/recast.py."""

    model: str
    target: str
    types: dict[str, str]
    relatives: tuple[str, ...]
    threads: int


class Judge(Order, frozen=True):
    """Compare `model` with the kept `rows`: those from `start` to `stop` of every passage."""

    model: str
    rows: str
    start: int
    stop: int
    threads: int


class Attend(Order, frozen=True):
    """Find out whether flash attention is faster for `model`."""

    model: str
    threads: int


class Race(Order, frozen=True):
    """Time `model` beside the file as it is, in turns: both are loaded at once. `flash` is the attention of `model`."""

    as_it_is: str
    model: str
    flash: bool
    threads: int


class Settle(Order, frozen=True):
    """Find the thread counts, at most `threads`, and the slice that suit `model`."""

    model: str
    flash: bool
    threads: int


class Answer(Struct, frozen=True, tag=True):
    """What comes back. An order ends with anything but `Progress`."""


class Progress(Answer, frozen=True):
    """From 0 to 1."""

    fraction: float


class Costed(Answer, frozen=True):
    """Cost by type."""

    costs: dict[str, Cost]


class Done(Answer, frozen=True):
    """It is done."""


class Judged(Answer, frozen=True):
    """Every row that was looked at."""

    rows: tuple[Row, ...]


class Attended(Answer, frozen=True):
    """Whether flash attention is the faster one."""

    flash: bool


class Raced(Answer, frozen=True):
    """Both speeds."""

    pair: Pair


class Settled(Answer, frozen=True):
    """The fastest thread count for steps of one token per writer and for prompts; prompt tokens computed at once; bytes
    per second that the memory gives.
    """

    decode_threads: int
    prefill_threads: int
    slice: int
    bandwidth: float


class Refused(Answer, frozen=True):
    """It did not work. `code` is one of errors.py."""

    code: str
    message: str


AnyOrder = Costs | Read | Recast | Judge | Attend | Race | Settle
AnyAnswer = Progress | Costed | Done | Judged | Attended | Raced | Settled | Refused

to_child: msgspec.msgpack.Decoder[AnyOrder] = msgspec.msgpack.Decoder(AnyOrder)
from_child: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)
