"""The parent's side of the child process: one order, its answers, and its end whatever happens."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from edgechat.errors import HubError, from_code
from edgechat.hub.letters import AnyAnswer, Failed, Fetched, Go, Order, Resolved, from_child
from edgechat.hub.reference import Remote
from edgechat.hub.source import Manifest
from edgechat.hub.stage import Stage
from edgechat.process.child import Child
from edgechat.process.disk import writing
from edgechat.process.spawn import spawn

PATIENCE = 2.0  # seconds between asking the child to end and ending it


class Errand:
    """A child process that resolves and fetches one reference. Leaving the `async with` ends it."""

    def __init__(self, reference: Remote, options: dict[str, str], stage: Stage, patience: float) -> None:
        """`options` are the source's own; `patience` is in seconds, until it must have said what it has."""
        self._order = Order(str(reference), options, patience)
        self._stage = stage
        self._child: Child[AnyAnswer] | None = None

    async def __aenter__(self) -> Self:
        with writing(self._stage.root):
            self._stage.scratch.mkdir(parents=True, exist_ok=True)
            log = self._stage.log.open("wb")
        with log:
            # It asks hubs and pip's index as this person does: with their proxies and tokens.
            self._child = await Child.of(spawn("edgechat.hub.child", stderr=log, environment=os.environ), from_child)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child is not None
        await self._child.end(PATIENCE)

    async def resolve(self) -> Manifest:
        """What the reference is. Raises what the source raised."""
        answer = await self._ask(self._order)
        if not isinstance(answer, Resolved):
            raise HubError("the download process lost its way; pull again.")
        return answer.manifest

    async def fetch(self, manifest: Manifest, files: Path) -> None:
        """Have the bytes put into `files`. Raises what the source raised."""
        answer = await self._ask(Go(manifest, str(files)))
        if not isinstance(answer, Fetched):
            raise HubError("the download process lost its way; pull again.")

    async def _ask(self, letter: Order | Go) -> Resolved | Fetched:
        assert self._child is not None
        self._child.post(letter)
        try:
            answer = await self._child.receive()
        except msgspec.DecodeError:
            answer = None
        if answer is None:
            raise HubError(f"the download process ended early; {self._last_words()}. Pull again.")
        if isinstance(answer, Failed):
            raise from_code(answer.code, answer.message)
        return answer

    def _last_words(self) -> str:
        try:
            lines = self._stage.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"it said: {words[:200]}" if words else "it said nothing"
