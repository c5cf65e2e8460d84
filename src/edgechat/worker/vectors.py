"""Embeddings: the worker of a model that gives vectors: one thread, one text after the other, each client in turn.

A model that answers and one that embeds never share an engine's context: the file says which it is.
"""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue

from edgechat import registry
from edgechat.engine.base import Embedder, Progress
from edgechat.errors import ContextLengthExceeded, EdgechatError, InvalidRequest, failed_of
from edgechat.letters import AnyToWorker, Ask, Cancel, Cores, Generate, Load
from edgechat.prompt.budget import FAR, SHORT, counted
from edgechat.prompt.tokenizer import check_ids, look_up
from edgechat.types import Answered, AnyEvent, Detokenize, Embed, Prefill, Tokenize

NO_ANSWERS = "this model gives embeddings; it does not answer."


def embeds(letter: Load) -> bool:
    """Whether the model to load is one of these. Raises ModelFileInvalid."""
    forecast = registry.load(registry.FORECASTS, letter.engine, "engine")
    return bool(forecast(Path(letter.path)).describe(0).dimensions)


def load(letter: Load, progress: Progress) -> Embedder:
    """The model. Raises what makes it unservable."""
    make = registry.load(registry.EMBEDDERS, letter.engine, "engine")
    embedder: Embedder = make(Path(letter.path), letter.context, letter.memory, letter.threads, progress)
    return embedder


class Job:
    """A request for vectors, some of them made."""

    def __init__(self, id: int, texts: list[list[int]]) -> None:
        self.id = id
        self.texts = texts
        self.vectors: list[bytes] = []

    def go_on(self, embedder: Embedder) -> Prefill | Answered:
        """Make the next vector. Tells how many tokens are read, and at last everything."""
        self.vectors.append(embedder.embed(self.texts[len(self.vectors)]))
        if len(self.vectors) == len(self.texts):
            return Answered(tokens=tuple(chain(*self.texts)), vectors=tuple(self.vectors))
        return Prefill(sum(map(len, self.texts[: len(self.vectors)])), sum(map(len, self.texts)))


class Turns:
    """The jobs of every client. Clients take turns, text by text; a client's own jobs are done one after the other."""

    def __init__(self) -> None:
        self._clients: dict[str, list[Job]] = {}  # whose turn it is comes first

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, client: str, job: Job) -> None:
        """A job more."""
        self._clients.setdefault(client, []).append(job)

    def drop(self, id: int) -> None:
        """Nobody waits for this one any more."""
        left = {client: [job for job in jobs if job.id != id] for client, jobs in self._clients.items()}
        self._clients = {client: jobs for client, jobs in left.items() if jobs}

    def take(self) -> Job:
        """The job whose turn it is; its client is the last one then."""
        client = next(iter(self._clients))
        jobs = self._clients[client] = self._clients.pop(client)
        return jobs[0]


def serve(embedder: Embedder, mail: "SimpleQueue[AnyToWorker | None]", tell: Callable[[int, AnyEvent], None]) -> None:
    """Answer the letters in `mail` until None comes. A new letter waits for one text at most."""
    turns = Turns()
    while True:
        try:
            letter = mail.get(block=not turns)
        except Empty:
            _go_on(embedder, turns, tell)
            continue
        if letter is None:
            return
        try:
            _take(embedder, turns, letter, tell)
        except EdgechatError as error:
            assert isinstance(letter, Ask | Generate)
            tell(letter.id, failed_of(error))


def _go_on(embedder: Embedder, turns: Turns, tell: Callable[[int, AnyEvent], None]) -> None:
    job = turns.take()
    try:
        event: AnyEvent = job.go_on(embedder)
    except EdgechatError as error:
        event = failed_of(error)
    tell(job.id, event)
    if not isinstance(event, Prefill):
        turns.drop(job.id)


def _take(embedder: Embedder, turns: Turns, letter: AnyToWorker, tell: Callable[[int, AnyEvent], None]) -> None:
    """Raises InvalidRequest, and ContextLengthExceeded for a text that does not fit."""
    match letter:
        case Ask(id=id, question=Embed(texts=texts, client=client)):
            turns.add(client, Job(id, [_fitting(embedder, text) for text in texts]))
        case Ask(id=id, question=(Tokenize() | Detokenize()) as question):
            tell(id, look_up(embedder.tokenizer, question))
        case Ask() | Generate():
            raise InvalidRequest(NO_ANSWERS, "model")
        case Cancel(id=id):
            turns.drop(id)
        case Cores(count=count):
            embedder.set_threads(count)
        case _:
            pass  # nothing is kept that could be forgotten


def _fitting(embedder: Embedder, text: str | tuple[int, ...]) -> list[int]:
    context = embedder.info.context
    if isinstance(text, str) and len(text) > SHORT and counted(text, embedder.tokens, FAR * context) > FAR * context:
        raise ContextLengthExceeded(
            f"a text has more than {FAR * context} tokens, this model reads at most {context} at once: cut it.", "input"
        )
    if isinstance(text, str):
        tokens = embedder.tokens(text)
    else:
        check_ids(embedder.tokenizer, tokens := list(text), "input")
    if len(tokens) > context:
        raise ContextLengthExceeded(
            f"a text has {len(tokens)} tokens, this model reads at most {context} at once: cut it.",
            "input",
        )
    if not tokens:
        raise InvalidRequest("input has a text without a token.", "input")
    return tokens
