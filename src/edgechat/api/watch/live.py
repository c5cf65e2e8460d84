"""The answers under way, as the operator sees them: who, which model, how far. Nobody's words are in it.

follow ─► see every event ─► drop          end(id): the next event of that answer is an error
"""

import time
from collections import Counter, deque
from itertools import count
from typing import Literal

from edgechat.errors import EdgechatError, Interrupted, InvalidRequest
from edgechat.types import AnyEvent, Called, Delta, Done, Failed, GenRequest, Prefill, Reasoning, Struct

ERRORS = 20  # the last ones are kept

Phase = Literal["waiting", "reading", "writing"]


class Trouble(Struct, frozen=True):
    """An answer that ended with an error, or was refused. `at` is in seconds since 1970."""

    at: float
    code: str
    message: str
    model: str


class Line:
    """One answer: `read` of `total` prompt tokens, then `said` tokens."""

    def __init__(self, live: "Live", id: int, client: str, model: str) -> None:
        self.id, self.client, self.model = id, client, model
        self.phase: Phase = "waiting"
        self.read = self.total = self.said = 0
        self._live = live
        self._since = time.monotonic()
        self._spoke: float | None = None
        self.ended = False

    def see(self, event: AnyEvent) -> AnyEvent:
        """Take in what goes by, and let it: an answer that the operator ended fails here."""
        if self.ended and not isinstance(event, Done):
            event = Failed(Interrupted.code, "the operator ended this answer.")
        match event:
            case Prefill(done=done, total=total):
                if self.phase == "waiting":
                    self._live.waits.append(time.monotonic() - self._since)
                self._live.read += max(0, done - self.read) if self.total else 0  # the first tells what was cached, too
                self.phase, self.read, self.total = "reading", done, total
            case Delta() | Reasoning() | Called():
                if self._spoke is None:
                    self._spoke = time.monotonic()
                    self._live.firsts.append(self._spoke - self._since)
                self.phase = "writing"
                self.said += 1
                self._live.written += 1
            case Done(usage=usage):
                self._live.written += usage.completion_tokens - self.said
            case Failed(code=code, message=message, param=param):
                self._live.trouble(code, message, self.model, param)
        return event

    @property
    def cells(self) -> int:
        """Tokens that it holds in the engine's memory, about."""
        return self.read + self.said

    def told(self) -> dict[str, object]:
        """The line, for the dashboard."""
        now = time.monotonic()
        seconds = now - self._spoke if self._spoke else 0.0
        return {
            "id": self.id,
            "client": self.client,
            "model": self.model,
            "phase": self.phase,
            "read": self.read,
            "total": self.total,
            "said": self.said,
            "tok_s": round((self.said - 1) / seconds, 1) if self.said > 1 and seconds > 0 else None,
            "age_s": round(now - self._since, 1),
        }


class Live:
    """All of them. `read` and `written` are tokens since the start, `refusals` those who were not answered."""

    def __init__(self) -> None:
        self.lines: dict[int, Line] = {}
        self.errors: deque[Trouble] = deque(maxlen=ERRORS)
        self.read = self.written = self.refusals = 0
        self.codes: Counter[str] = Counter()  # errors since the start
        self.firsts: list[float] = []  # seconds to first tokens, for whoever empties it
        self.waits: list[float] = []  # the same to first steps
        self._ids = count(1)

    def follow(self, request: GenRequest, client: str, model: str) -> Line:
        """A new answer of `client`, as the operator knows it."""
        line = Line(self, next(self._ids), "title" if request.purpose == "title" else client, model)
        self.lines[line.id] = line
        return line

    def drop(self, line: Line) -> None:
        """It is over, however it ended."""
        self.lines.pop(line.id, None)

    def end(self, id: int) -> bool:
        """End an answer; False where it is over already."""
        line = self.lines.get(id)
        if line is not None:
            line.ended = True
        return line is not None

    def share(self, cells: int) -> float:
        """How much of `cells`, the tokens that the engines can hold, the answers under way take; 0 to 1."""
        return min(1.0, sum(line.cells for line in self.lines.values()) / cells) if cells else 0.0

    def refused(self, error: EdgechatError, model: str) -> None:
        """Somebody was not answered."""
        self.refusals += 1
        self.trouble(error.code, str(error), model, getattr(error, "param", None))

    def turned_away(self, code: str) -> None:
        """Somebody was refused before it was known who asks for what (gate.py)."""
        self.refusals += 1
        self.codes[code] += 1

    def trouble(self, code: str, message: str, model: str, param: str | None = None) -> None:
        """Keep an error. What is said of a field may quote what stood in it: then only the field is kept."""
        if code == InvalidRequest.code:
            message = f"{param or 'the request'} is not taken as it was sent."
        self.codes[code] += 1
        self.errors.append(Trouble(time.time(), code, message, model))
