"""Many clients that all ask at once: `python -m tests.e2e.crowd PORT COUNT`, a process of its own.

Each has a connection, an address of its neighbourhood (127.0.0.2 to .6) and a canary. What it prints: a JSON list of
[seconds, end], in the order of the ends; an end is a status, or why there was none, or what was wrong with the answer.
"""

import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ADDRESSES = 5  # a bound on connections of one address is not what is looked at
PUMP_EVERY = 50


@dataclass
class Client:
    """One connection, and what came over it."""

    number: int
    begun: float
    heard: bytes = b""

    @property
    def canary(self) -> str:
        return f"canary {self.number:05}"

    def request(self) -> bytes:
        wanted = {"messages": [{"role": "user", "content": self.canary}], "user": self.canary, "max_tokens": 60}
        body = json.dumps(wanted).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def end(self) -> str:
        """The status of an answer that is as it should be; else what it is instead."""
        head, _, body = self.heard.partition(b"\r\n\r\n")
        if not head:
            return "closed without a word"
        status, lines = head[9:12].decode(), head.lower()
        if status == "200":
            said = json.loads(body)["choices"][0]["message"]["content"]
            return status if said == f"You said: {self.canary}" else f"200 with {said!r}"
        told = b"\r\nretry-after: " in lines and json.loads(body)["error"]["message"]
        return status if told else f"{status} without when or why"


class Crowd:
    """All of them, on one selector: cheap enough to ask a thousand times in a tenth of a second."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self.ends: list[tuple[float, str]] = []

    def run(self, count: int) -> None:
        for number in range(count):
            self._begin(number)
            if number % PUMP_EVERY == 0:
                self._pump(0)
        while len(self.ends) < count:
            self._pump(1)

    def _begin(self, number: int) -> None:
        line = socket.socket()
        line.setblocking(False)
        line.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
        client = Client(number, time.perf_counter())
        line.connect_ex(("127.0.0.1", self._port))
        self._selector.register(line, selectors.EVENT_WRITE, client)

    def _pump(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            line, client = key.fileobj, key.data
            assert isinstance(line, socket.socket)
            try:
                if key.events == selectors.EVENT_WRITE:
                    line.send(client.request())
                    self._selector.modify(line, selectors.EVENT_READ, client)
                    continue
                part = line.recv(65_536)
                end = None if part else client.end()
                client.heard += part
            except OSError as error:
                end = type(error).__name__
            if end is not None:
                self.ends.append((time.perf_counter() - client.begun, end))
                self._selector.unregister(line)
                line.close()


def rush(port: int, count: int) -> list[tuple[float, str]]:
    """Let `count` clients ask at once; what became of each."""
    command = [sys.executable, "-m", "tests.e2e.crowd", str(port), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=True)
    return [(seconds, end) for seconds, end in json.loads(done.stdout)]


if __name__ == "__main__":
    crowd = Crowd(int(sys.argv[1]))
    crowd.run(int(sys.argv[2]))
    print(json.dumps(crowd.ends))
