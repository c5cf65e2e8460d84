"""Load shedding at accept: who asks while every place is taken hears it before there is a connection to look after.

In a burst nearly everybody is refused. What asyncio, uvicorn and h11 set up for a connection costs several times what
the refusal itself does, and whoever comes later waits for all of it:

    accept ─► places left, or something else is said ─────────► asyncio ─► connection.py
       └────► a whole request for an answer, and no place ────► 429, and the next one
"""

import os
import socket
from contextlib import suppress
from typing import Any

from edgechat.api.doors.gate import FULL, Gate
from edgechat.api.doors.refusal import first_words, is_whole, spoken
from edgechat.api.routes import Table

GLANCE = 16_384  # bytes: a longer request is met inside
AT_A_TIME = 64  # turned away in one turn of the loop, so that those inside are served between


class Doorstep(socket.socket):
    """What `listener` hears, without whom the gate refuses; for asyncio to accept from."""

    def __init__(self, listener: socket.socket, gate: Gate, table: Table) -> None:
        super().__init__(fileno=os.dup(listener.fileno()))
        self._gate, self._table = gate, table

    def accept(self) -> tuple[socket.socket, Any]:
        """The next one who may come in. Raises BlockingIOError where there is none for now."""
        for _ in range(AT_A_TIME):
            line, address = super().accept()
            if not self._turned_away(line):
                return line, address
        raise BlockingIOError

    def _turned_away(self, line: socket.socket) -> bool:
        """Whether `line` asked in vain. What cannot be decided at a glance goes in."""
        if not self._gate.full:
            return False
        try:
            said = line.recv(GLANCE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:  # nothing yet, or nobody any more
            return False
        method, path = first_words(said)
        if not ((method, path) in self._table.placed and is_whole(said)):
            return False
        self._gate.turn_away()
        with line, suppress(OSError):
            line.recv(GLANCE)  # a line that is closed over unread bytes would be reset
            line.send(spoken(FULL, self._table.dialect(path)))
        return True
