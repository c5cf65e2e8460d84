"""A model's handle: what one caller may do with it, and where each of their answers is signed in and out.

find(name, caller) ─► Handle ─┬─► stream, embed   signed in and out (answers.py)
                              ├─► ask, load       the right was looked at when it was found
                              └─► keep            an operator's
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from edgechat.errors import EdgechatError, OperatorOnly, error_of, failed_of
from edgechat.models.answers import Answers
from edgechat.prompt import senses
from edgechat.types import (
    Answered,
    AnyEvent,
    Caller,
    Detokenize,
    Embed,
    Failed,
    GenRequest,
    Kind,
    Model,
    Read,
    Served,
    Tokenize,
)


class Handle:
    """The `Model` that a caller gets: one of any kind, as this caller may use it."""

    def __init__(self, model: Model, caller: Caller, answers: Answers, takers: Callable[[Kind], list[str]]) -> None:
        """`takers` names those that the caller may ask and that take a kind of part."""
        self._model = model
        self._caller = caller
        self._answers = answers
        self._takers = takers

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def served(self) -> Served:
        return self._model.served

    async def stream(self, request: GenRequest) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer, in the caller's realm and turn. Raises what their limits refuse, besides."""
        self.check(request)
        asked = msgspec.structs.replace(request, client=self._client(request.user), realm=self._caller.realm)
        async with (
            self._answers.signed(asked, self._caller, self._model.name) as answer,
            aclosing(self._model.stream(answer.request)) as events,
        ):
            async for event in events:
                yield answer.see(event)
                if answer.ending:
                    return

    async def ask(self, question: Tokenize | Read | Detokenize) -> Answered:
        if isinstance(question, Read):
            self.check(question.request)
        return await self._model.ask(question)

    async def embed(self, question: Embed) -> Answered:
        """The vectors, signed in as an answer is. Raises what the caller's limits refuse, besides."""
        asked = msgspec.structs.replace(question, client=self._client(question.user))
        async with self._answers.signed(GenRequest(()), self._caller, self._model.name) as answer:
            try:
                told = await self._model.embed(asked)
            except EdgechatError as error:
                answer.see(failed_of(error))
                raise
            if isinstance(event := answer.see(told), Failed):
                raise error_of(event)
            return told

    async def load(self) -> None:
        await self._model.load()

    def keep(self, seconds: float) -> None:
        if not self._caller.operator:
            raise OperatorOnly("how long a model stays in memory is an operator's decision.")
        self._model.keep(seconds)

    def check(self, request: GenRequest) -> None:
        """Raise UnsupportedMedia for what the model does not take; it names those that do."""
        for part in senses.foreign(request.messages, self.served.info.senses):
            raise senses.unsupported(part, self._takers(part.kind))

    def _client(self, user: str) -> str:
        """Whose turn it is: one of the caller's people, where it names them."""
        return f"{self._caller.client}/{user}"
