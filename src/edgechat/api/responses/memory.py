"""Conversation state (stored responses): recent answers are kept in memory for a while, and a turn can build on them.

    POST store: true (OpenAI's default) ─► keep ─► previous_response_id, item_reference, GET, DELETE
                                             └─► gone: an hour after its last use, for newer ones, with the server

Each realm has its own: what one key's owner asked, another's does not find.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from edgechat.api.responses.items import AnyItem, Item, Known, Reference
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.errors import NotFound, ResponseGone

KEPT_S = 3600.0  # since its last use
GONE = "answers are kept for an hour and not across a restart"
MOST = 256  # answers of one realm
MOST_BYTES = 16 << 20  # of one realm: bodies as they came and went, those that an answer builds on counted again

_SAID: TypeAdapter[list[Item]] = TypeAdapter(list[Item])


class Kept(NamedTuple):
    """One answer, and all that was said before it."""

    response: dict[str, Any]
    conversation: tuple[Known, ...]  # with the answer's own items last
    size: int  # bytes
    used: float


class Past:
    """The recent answers of one realm, the one that was used last at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._clock = clock

    def keep(self, response: dict[str, Any], given: tuple[Known, ...], size: int) -> None:
        """Keep an answer to all that was `given`. One that is larger than all may be is not kept."""
        before = self._kept.get(response["previous_response_id"] or "")
        said = _SAID.validate_python(response["output"])
        size += before.size if before else 0
        if size > MOST_BYTES:
            return  # the others stay
        kept = Kept(response, (*given, *(item for item in said if not isinstance(item, Reference))), size, 0)
        self._kept[response["id"]] = kept._replace(used=self._clock())
        while len(self._kept) > MOST or sum(one.size for one in self._kept.values()) > MOST_BYTES:
            self._kept.popitem(last=False)

    def get(self, id: str) -> Kept:
        """The answer with that id, used now. Raises NotFound."""
        self.expire()
        if id not in self._kept:
            raise NotFound(f"Response with id {id!r} not found: {GONE}.")
        self._kept[id] = self._kept.pop(id)._replace(used=self._clock())
        return self._kept[id]

    def _before(self, id: str) -> Kept:
        """The answer that another one builds on. Raises ResponseGone."""
        try:
            return self.get(id)
        except NotFound:
            text = f"Previous response with id {id!r} not found: {GONE}. Send the whole conversation as input."
            raise ResponseGone(text, "previous_response_id") from None

    def forget(self, id: str) -> None:
        """Drop it. Raises NotFound."""
        self.get(id)
        del self._kept[id]

    def expire(self) -> None:
        """Drop what nobody used for long."""
        while self._kept and self._clock() - next(iter(self._kept.values())).used > KEPT_S:
            self._kept.popitem(last=False)

    def conversation(self, body: ResponsesRequest) -> tuple[Known, ...]:
        """What `body` asks about: what it builds on, then its own input. Raises NotFound, ResponseGone."""
        id = body.previous_response_id
        before = self._before(id).conversation if id else ()
        return (*before, *(self._found(at, item) for at, item in enumerate(body.input)))

    def _found(self, at: int, item: AnyItem) -> Known:
        if not isinstance(item, Reference):
            return item
        self.expire()
        found = next((said for said in self._items() if said.id == item.id), None)
        if found is None:
            raise NotFound(
                f"Item with id {item.id!r} not found: {GONE}. Send the item itself, or turn storing off in the client "
                "(store: false).",
                f"input.{at}.id",
            )
        return found

    def _items(self) -> Iterator[Known]:
        """The newest first."""
        for kept in reversed(self._kept.values()):
            yield from reversed(kept.conversation)


class Memory:
    """The recent answers of every realm."""

    def __init__(self) -> None:
        self._realms: dict[str, Past] = {}

    def of(self, realm: str) -> Past:
        """Those of one. What others do not use any more goes meanwhile."""
        for past in self._realms.values():
            past.expire()
        return self._realms.setdefault(realm, Past())
