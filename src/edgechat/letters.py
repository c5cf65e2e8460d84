"""Interprocess messages: all that is said between a server and its workers.

    server ─► Load, then Generate · Ask · Cancel · Forget · Cores ─►  worker
           ◄─ LoadProgress …, Ready | LoadFailed, then Told · Alive …  ◄─

They travel as process/frames.py says. Both ends know the types; nothing else gets through.
"""

import msgspec

from edgechat.types import AnyEvent, AnyQuestion, GenRequest, Loading, ModelInfo, Struct


class ToWorker(Struct, frozen=True, tag=True):
    """A letter from the server to its worker."""


class Load(ToWorker, frozen=True):
    """The first letter: what to serve. `path` is a file that was verified by the sender."""

    engine: str
    path: str
    context: int  # tokens per conversation; 0 = as the model was trained, within the worker's own cap
    threads: int  # the most it may use
    decode_threads: int = 0  # of them, what was measured as fastest for steps of one token per writer; 0 = all
    prefill_threads: int = 0  # the same for prompts
    ubatch: int = 0  # prompt tokens computed at once, as measured; 0 = the engine's own number
    flash: bool = True  # attention in one pass over keys and values, unless that was measured as slower
    memory: int = 0  # bytes for weights, cache and buffers; 0 = what the worker thinks proper
    queue: int = 64  # answers that may wait
    thinking: bool | None = None  # where a request does not say, and the template can be told; None: as it has it
    digest: str = ""  # SHA-256 of the file
    projector: str = ""  # a verified file that encodes pictures for the model; none: it takes no pictures
    projector_digest: str = ""  # tells it from any other
    projector_bytes: int = 0  # of memory, once the first picture comes
    projector_patch: int = 0  # pixels on a side that a token of a picture stands for; 0: nobody knows
    shelf: str = ""  # folder for prefixes that outlive the process
    shelf_bytes: int = 0  # most bytes there; 0 = none


class Generate(ToWorker, frozen=True):
    """Answer `request`; every event comes back under `id`."""

    id: int
    request: GenRequest


class Ask(ToWorker, frozen=True):
    """Answer `question`; one event comes back under `id`."""

    id: int
    question: AnyQuestion


class Cancel(ToWorker, frozen=True):
    """Nobody reads `id` any more."""

    id: int


class Forget(ToWorker, frozen=True):
    """The conversation is deleted: nothing of it stays in memory or on disk."""

    conversation: str


class Cores(ToWorker, frozen=True):
    """Use at most `count` threads from now on: others need the rest."""

    count: int


class FromWorker(Struct, frozen=True, tag=True):
    """A letter from a worker to its server."""


class LoadProgress(FromWorker, frozen=True):
    """Loading goes on."""

    event: Loading


class Ready(FromWorker, frozen=True):
    """The model answers."""

    info: ModelInfo


class LoadFailed(FromWorker, frozen=True):
    """The model cannot be served; the worker ends. `code` is one of errors.py."""

    code: str
    message: str


class Told(FromWorker, frozen=True):
    """An event of the answer `id`."""

    id: int
    event: AnyEvent


class Alive(FromWorker, frozen=True):
    """A heartbeat: a bounded piece of work is done, and there was nothing of it to tell."""


AnyToWorker = Load | Generate | Ask | Cancel | Forget | Cores
AnyFromWorker = LoadProgress | Ready | LoadFailed | Told | Alive

to_worker: msgspec.msgpack.Decoder[AnyToWorker] = msgspec.msgpack.Decoder(AnyToWorker)
from_worker: msgspec.msgpack.Decoder[AnyFromWorker] = msgspec.msgpack.Decoder(AnyFromWorker)
