"""Asks a server for /healthz again and again: `python -m tests.e2e.prober PORT`, a process of its own.

What it prints when its standard input ends: a JSON list of [seconds, status], one for each time it asked.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 0.02
PATIENCE_S = 30.0
PROBE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
ROOT = Path(__file__).parent.parent.parent


def main() -> None:
    port, seen = int(sys.argv[1]), []
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        begun = time.perf_counter()
        status = ask(port)
        seen.append((time.perf_counter() - begun, status))
    print(json.dumps(seen))


def ask(port: int) -> int:
    """The status of one probe over a connection of its own; 0 where the connection breaks."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(PROBE)
            while part := line.recv(4096):
                answer += part
    except OSError:
        return 0
    return int(answer[9:12] or 0)


class Probes:
    """What a prober saw; complete once it is over."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: set[int] = set()

    def row(self) -> str:
        """In one line."""
        ordered = sorted(self.seconds)
        p50, p99, most = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99, 1))
        return f"/healthz {len(ordered)} times: p50 {p50:.1f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms"


@contextmanager
def probing(port: int) -> Iterator[Probes]:
    """Have /healthz asked for as long as the block runs."""
    command = [sys.executable, "-m", "tests.e2e.prober", str(port)]
    found = Probes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield found
        finally:
            told, _ = process.communicate("over\n", timeout=2 * PATIENCE_S)
        seen = json.loads(told)
        found.seconds = [seconds for seconds, _ in seen]
        found.statuses = {status for _, status in seen}


if __name__ == "__main__":
    main()
