"""The worker of a model that gives vectors: one thread, one text after the other.

A model that answers and one that embeds never share an engine's context: the file says which it is.
"""

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

from edgechat import registry
from edgechat.engine.base import Embedder, Progress
from edgechat.errors import ContextLengthExceeded, EdgechatError, InvalidRequest
from edgechat.types import (
    Answered,
    AnyEvent,
    AnyQuestion,
    AnyToWorker,
    Ask,
    Cores,
    Detokenize,
    Embed,
    Failed,
    Generate,
    Load,
    Prefill,
    Read,
    Tokenize,
)

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


def serve(embedder: Embedder, read: Callable[[], AnyToWorker | None], tell: Callable[[int, AnyEvent], None]) -> None:
    """Answer letters until there are no more."""
    while (letter := read()) is not None:
        match letter:
            case Ask(id=id, question=question):
                try:
                    tell(id, answer(embedder, question, partial(tell, id)))
                except EdgechatError as error:
                    tell(id, Failed(error.code, str(error), getattr(error, "param", None)))
            case Generate(id=id):
                tell(id, Failed(InvalidRequest.code, NO_ANSWERS, "model"))
            case Cores(count=count):
                embedder.set_threads(count)
            case _:
                pass  # nothing is queued that could be cancelled, nothing kept that could be forgotten


def answer(embedder: Embedder, question: AnyQuestion, told: Callable[[AnyEvent], None] = lambda _: None) -> Answered:
    """Answer a question. Raises InvalidRequest, and ContextLengthExceeded for a text that does not fit.

    `told` hears of every text that is done: a worker that says nothing for long is taken for one that hangs.
    """
    match question:
        case Embed(texts=texts):
            read = [_fitting(embedder, text) for text in texts]
            vectors = []
            for at, tokens in enumerate(read, 1):
                vectors.append(embedder.embed(tokens))
                told(Prefill(at, len(read)))
            return Answered(tokens=tuple(chain(*read)), vectors=tuple(vectors))
        case Tokenize(text=text):
            return Answered(tokens=tuple(embedder.tokenizer.encode(text)))
        case Detokenize(tokens=tokens):
            return Answered(text=b"".join(map(embedder.tokenizer.piece, tokens)).decode(errors="replace"))
        case Read():
            raise InvalidRequest(NO_ANSWERS, "model")


def _fitting(embedder: Embedder, text: str | tuple[int, ...]) -> list[int]:
    tokens = embedder.tokens(text) if isinstance(text, str) else list(text)
    if len(tokens) > embedder.info.context:
        raise ContextLengthExceeded(
            f"a text has {len(tokens)} tokens, this model reads at most {embedder.info.context} at once: cut it.",
            "input",
        )
    if not tokens:
        raise InvalidRequest("input has a text without a token.", "input")
    return tokens
