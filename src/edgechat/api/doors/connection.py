"""Connection limits and timeouts, below ASGI: nobody holds a connection by dawdling (slowloris), nobody holds all.

uvicorn waits for a request as long as a byte comes now and then. Here every wait ends:

    connected ─► head (10 s) ─► body (60 s, a part in 15 s) ─► answer (30 s without reading) ─► idle (5 s) ─► head …

A proxy waits longer between two requests: it would send the next one while the connection is closed (a 502).

Where there are too many connections, a newcomer takes the place of the one that has dawdled longest over its head; if
all of them are being answered, the newcomer is told to come back.
"""

import asyncio
import socket
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from edgechat.api.doors.gate import FULL, Gate
from edgechat.api.doors.refusal import first_words, is_whole, spoken
from edgechat.api.errors import OPENAI, Dialect, Problem
from edgechat.api.routes import Table
from edgechat.api.watch.metrics import Metrics

HEAD_S = 10.0  # from the first moment to the last header
PROXY_IDLE_S = 75  # of a proxy's connection: nginx keeps one for 60 s
LOOPBACK = frozenset({"127.0.0.1", "::1"})
GRACE_S = 1.0  # in which nobody dawdles yet: in a burst, heads that came wait unread
BODY_S = 60.0  # from the last header to the last byte
PART_S = 15.0  # between two parts of a body
READ_S = 30.0  # without reading what was sent
FAREWELL_S = 1.0  # for a refused client to take in the answer
MAX_HEAD = 32_768  # bytes
CROWDED = Problem(503, "There are too many connections; come back in a moment.", "too_many_connections", None, 2)
SEND_BUFFER = 131_072  # bytes the system keeps for one client; by itself it would let them grow to megabytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many connections there may be. `trusted` addresses stand for many clients.

    `lingering` more may stay for a moment, so that whoever is told to come back has sent what they had to say.
    """

    total: int = 1024
    per_address: int = 256
    trusted: frozenset[str] = frozenset()
    lingering: int = 1024


Heads = defaultdict[str | None, dict["Connection", None]]


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with deadlines and company."""

    bounds: ClassVar[Bounds] = Bounds()
    crowd: ClassVar[Counter[str]] = Counter()  # connections by address
    heads: ClassVar[Heads] = defaultdict(dict)  # those that wait for one, by address, and all of them: the oldest first
    gate: ClassVar[Gate | None] = None
    table: ClassVar[Table] = Table(())
    metrics: ClassVar[Metrics | None] = None  # for answers that the application never sees

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._stage = ""
        self._began = 0.0
        self._ends = 0.0  # when the stage has to be over, by the loop's clock
        self._turned_away: Problem | None = None
        self._asks = False  # whether what is being sent is a request for an answer
        self._placed = False  # whether it has a place at the gate
        self.address = ""

    # ── in and out ──

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # or small writes wait 40 ms for an acknowledgement
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.address = self.client[0] if self.client else ""
        if self.address in self.bounds.trusted | LOOPBACK:
            self.timeout_keep_alive = PROXY_IDLE_S
        self.crowd[self.address] += 1
        self._turned_away = None if self._make_room() else CROWDED
        self._enter("head", FAREWELL_S if self._turned_away else HEAD_S)
        if self._turned_away and len(self.connections) > self.bounds.total + self.bounds.lingering:
            self._say(CROWDED)  # every file is needed: there is no moment for it

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd[self.address] -= 1
        if not self.crowd[self.address]:
            del self.crowd[self.address]
        self._enter("")
        self._give_up_place()
        self.resume_writing()
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Whether there is a place, perhaps one that a dawdler had to give up."""
        if self.address not in self.bounds.trusted and self.crowd[self.address] > self.bounds.per_address:
            return _evict(self.heads[self.address])
        return len(self.connections) <= self.bounds.total or _evict(self.heads[None])

    # ── what comes in ──

    def _unsupported_upgrade_warning(self) -> None:
        """An offer of another protocol (h2c, websocket) may be passed over: the answer comes as it was asked for."""

    def data_received(self, data: bytes) -> None:
        if self._turned_away is None and self._between_requests():
            self._asks = first_words(data) in self.table.placed
            if self._asks and self.gate is not None and self.gate.full:
                self.gate.turn_away()
                self._turned_away = FULL
        if self._turned_away:
            self._turn_away(self._turned_away, data)
            return
        super().data_received(data)
        self._advance()

    def on_response_complete(self) -> None:
        self._give_up_place()
        super().on_response_complete()
        self._advance()

    def _between_requests(self) -> bool:
        """Whether what comes now is the beginning of a request."""
        cycle: RequestResponseCycle | None = self.cycle
        return (
            self.conn.their_state is h11.IDLE
            and not self.conn.trailing_data[0]
            and (cycle is None or cycle.response_complete)
        )

    def _take_place(self) -> None:
        if self._asks and not self._placed and self.gate is not None:
            self._placed = True
            self.gate.enter()

    def _give_up_place(self) -> None:
        if self._placed and self.gate is not None:
            self._placed = False
            self.gate.leave()

    def _advance(self) -> None:
        """Find out what is waited for now, and until when."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            idle = self.timeout_keep_alive_task is not None  # uvicorn ends that
            self._enter("", 0) if idle else self._enter("head", HEAD_S)
        elif cycle.more_body:
            self._enter("body", BODY_S, PART_S)
        else:
            self._take_place()
            self._enter("")

    def _enter(self, stage: str, lasts: float = 0.0, part: float | None = None) -> None:
        """Be in `stage`, for `lasts` seconds in all and `part` seconds from now."""
        if self._timer is not None:
            if stage == self._stage and part is None:
                return
            self._timer.cancel()
            self._timer = None
        now = self.loop.time()
        if stage != self._stage:
            self._line_up(stage == "head")
            self._stage, self._began, self._ends = stage, now, now + lasts
        if stage:
            ends = self._ends if part is None else min(self._ends, now + part)
            self._timer = self.loop.call_at(ends, self._too_slow)

    def _line_up(self, waits: bool) -> None:
        """Stand last among those that wait for a head, or leave them. Nobody looks through a crowd of thousands."""
        for who in (self.address, None):
            if waits:
                self.heads[who][self] = None
            else:
                self.heads[who].pop(self, None)
        if not self.heads[self.address]:
            del self.heads[self.address]

    def _too_slow(self) -> None:
        """The time for this stage is over."""
        self._timer = None
        self._line_up(False)
        if self._turned_away:
            self.transport.close()
            return
        if self._stage == "body" and self.cycle.response_started:
            self.transport.abort()
        else:
            self._say(Problem.http(408, f"The request's {self._stage} took too long."))

    # ── what goes out ──

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader_timer is None:
            self._reader_timer = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._say(Problem.http(status, f"{msg.rstrip('.')}." if status == 400 else HTTPStatus(status).phrase + "."))

    def _turn_away(self, why: Problem, data: bytes) -> None:
        """Refuse a request that came; what else comes is not looked at."""
        if self._stage != "away":
            self._enter("away", FAREWELL_S)
            self._write(why, self.table.dialect(first_words(data)[1]))
            if is_whole(data):
                self.transport.close()
            elif self.transport.can_write_eof():
                self.transport.write_eof()

    def _say(self, problem: Problem) -> None:
        """A last word, outside of any request."""
        if not self.transport.is_closing():
            self._write(problem)
            self.transport.close()

    def _write(self, problem: Problem, dialect: Dialect = OPENAI) -> None:
        if self.metrics is not None and problem is not FULL:  # that one the gate tells
            self.metrics.answer(problem.status)
        self.transport.write(spoken(problem, dialect))


def _evict(heads: dict[Connection, None]) -> bool:
    """Close the connection that has waited longest for its request's head. False if nobody has waited for long."""
    oldest = next(iter(heads), None)
    if oldest is None or oldest.loop.time() - oldest._began < GRACE_S:
        return False
    oldest._too_slow()
    return True
