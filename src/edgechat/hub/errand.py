"""The parent's side of the child process: one order, its answers, and its end whatever happens."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from edgechat.errors import HubError, from_code
from edgechat.hub.disk import writing
from edgechat.hub.reference import Remote
from edgechat.hub.source import Failed, Fetched, Go, Manifest, Order, Resolved, from_child, pack
from edgechat.hub.stage import Stage

PATIENCE = 2.0  # seconds between asking the child to end and ending it
MAX_LETTER = 1 << 20  # bytes


class Errand:
    """A child process that resolves and fetches one reference. Leaving the `async with` ends it."""

    def __init__(self, reference: Remote, options: dict[str, str], stage: Stage, patience: float) -> None:
        """`options` are the source's own; `patience` is in seconds, until it must have said what it has."""
        self._order = Order(str(reference), options, patience)
        self._stage = stage
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        command = (sys.executable, "-P", "-m", "edgechat.hub.child")
        with writing(self._stage.root):
            self._stage.scratch.mkdir(parents=True, exist_ok=True)
            log = self._stage.log.open("wb")
        with log:
            # A session of its own: Ctrl-C in the terminal is ours to handle, and pip ends with its parent.
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log, limit=MAX_LETTER, start_new_session=True
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        _signal_group(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            _signal_group(process, signal.SIGKILL)  # also what the child left behind
            process.stdin.close()
            await process.wait()

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
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # a dead child shows as an empty answer
            process.stdin.write(pack(letter))
            await process.stdin.drain()
        try:
            answer = from_child.decode(await process.stdout.readline())
        except (msgspec.DecodeError, ValueError):
            raise HubError(f"the download process ended early; {self._last_words()}. Pull again.") from None
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


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
