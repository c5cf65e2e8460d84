"""Who answers a chat in the terminal: the server that runs from the home folder, or a model loaded for it alone.

Both begin a run, tell what happens in it through a queue, and stop it. Telling is the work of another thread: so Ctrl-C
meets a main thread that waits for the queue, and nothing of the answer is lost by it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import httpx
import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal

from edgechat import presence
from edgechat.cli.follow import Out, until_up
from edgechat.cli.history import NOBODY
from edgechat.errors import EdgechatError, ServiceError, from_code
from edgechat.history import held
from edgechat.history.records import Started, Turn
from edgechat.history.store import History
from edgechat.presence import Card
from edgechat.runs import log
from edgechat.runs.keeper import Runs
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import Caller

PERSON = Caller("terminal", NOBODY, operator=True)  # the one at the keyboard

AnEvent = (
    log.Queued | log.Loading | log.Media | log.Prefill | log.Reasoning | log.Delta | log.Snapshot | log.Unsaved
    | log.Usage | log.Done | log.Error
)  # fmt: skip
Told = SimpleQueue[log.Event | BaseException | None]  # None is the end


class Place(Protocol):
    """Where answers come from. All methods belong to the main thread, and raise EdgechatError."""

    model: str  # that answers

    def show(self, content: bytes, name: str) -> str:
        """Keep a picture, the file called `name`, for a turn to come; its SHA-256."""
        ...

    def begin(self, turn: Turn) -> Started:
        """Store the turn and let it run."""
        ...

    def tell(self, run_id: str) -> Told:
        """What happens in the run, from its beginning on."""
        ...

    def stop(self, run_id: str) -> None:
        """End the run; what it has is kept."""
        ...


class Here:
    """A runtime in this process, with its loop in a thread of its own."""

    def __init__(self, portal: BlockingPortal, runs: Runs, model: str, most: int) -> None:
        """`most`: bytes of attachments that are kept."""
        self.model = model
        self._portal = portal
        self._runs = runs
        self._most = most

    def show(self, content: bytes, name: str) -> str:
        return held.put(self._runs.history, NOBODY, content, name, self._most)

    def begin(self, turn: Turn) -> Started:
        return self._portal.call(self._runs.begin, PERSON, turn)

    def tell(self, run_id: str) -> Told:
        told = Told()
        self._portal.start_task_soon(self._tell, run_id, told)
        return told

    def stop(self, run_id: str) -> None:
        self._portal.call(self._runs.stop, NOBODY, run_id)

    async def _tell(self, run_id: str, told: Told) -> None:
        try:
            async for _, event in await self._runs.events(NOBODY, run_id):
                told.put(event)
            told.put(None)
        except EdgechatError as error:
            told.put(error)


class There:
    """The server of a card, by the page's own API."""

    def __init__(self, card: Card, client: httpx.Client, model: str | None) -> None:
        self._card = card
        self._client = client
        self._wanted = model
        self.model = model or self._ask("GET", "/readyz", refusable=False).get("model") or "the model"

    def begin(self, turn: Turn) -> Started:
        body: dict[str, Any] = {"conversation_id": turn.conversation_id, "content": turn.content, "params": turn.params}
        body |= {"model": self._wanted, "attachments": turn.attachments or ()}
        return msgspec.convert(self._ask("POST", "/api/runs", json=body), Started)

    def show(self, content: bytes, name: str) -> str:
        kind = {"Content-Type": "application/octet-stream"}
        kept = self._ask("PUT", "/api/attachments", content=content, params={"name": name}, headers=kind)
        return str(kept["sha256"])

    def tell(self, run_id: str) -> Told:
        told = Told()
        Thread(target=self._tell, args=(run_id, told), daemon=True).start()
        return told

    def stop(self, run_id: str) -> None:
        self._ask("DELETE", f"/api/runs/{run_id}", json={})

    def _ask(self, method: str, path: str, refusable: bool = True, **what: Any) -> dict[str, Any]:
        """`what` is sent, in httpx's words."""
        try:
            answer = self._client.request(method, path, **what)
        except httpx.HTTPError as error:
            raise self._gone(error) from None
        found: dict[str, Any] = answer.json() if answer.content else {}
        if answer.is_error and refusable:
            problem = found["error"]
            raise from_code(problem["code"] or "", problem["message"], problem["param"])
        return found

    def _tell(self, run_id: str, told: Told) -> None:
        try:
            with self._client.stream(
                "GET", f"/api/runs/{run_id}/events", timeout=httpx.Timeout(10, read=None)
            ) as lines:
                for event in _events(lines.iter_lines()):
                    told.put(event)
                    if isinstance(event, log.Done | log.Error):
                        return told.put(None)
            told.put(self._gone())
        except httpx.HTTPError as error:
            told.put(self._gone(error))

    def _gone(self, why: Exception | None = None) -> ServiceError:
        ended = f"the server at {self._card.url} does not answer any more"
        return ServiceError(f"{ended}: {why or 'it ended'}. What it wrote is kept: edgechat history list")


def _events(lines: Iterator[str]) -> Iterator[log.Event]:
    """Server-sent events as what happened."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield msgspec.convert({**json.loads(value), "event": name}, AnEvent)


@contextmanager
def place_of(settings: Settings, history: History, model: str | None, alone: bool, out: Out) -> Iterator[Place]:
    """Where this chat's answers come from: the home folder's server, unless there is none or it has to be `alone`."""
    card = None if alone else presence.find(settings.home)
    if card is not None:
        with presence.client(card) as client:
            yield There(card, client, model)
        history.close()
        return
    with start_blocking_portal() as portal:
        runtime = Runtime(settings)
        runs = Runs(runtime, history)
        try:
            portal.call(runs.start)
            portal.call(until_up, runtime, out)
            yield Here(portal, runs, runtime.find(None, PERSON).served.name, settings.attachment_bytes)
        finally:
            portal.call(runs.close)
            portal.call(runtime.stop)
