"""Processes for workers; the first one of a server is started before anybody knows its model.

A server imports for half a second before it can name the model's file. A process that was prepared imports its own half
meanwhile, on another core, and waits for its first letter. Where none comes, it ends with the server.

This is imported before everything else: it needs little itself.
"""

import subprocess

from edgechat.process.spawn import spawn

WORKER = "edgechat.worker.main"

_waiting: list[subprocess.Popen[bytes]] = []


def prepare(engine: str) -> None:
    """Start a process that gets `engine` ready, if one is named; `take` hands it out."""
    _waiting.append(spawn(WORKER, engine))


def take() -> subprocess.Popen[bytes]:
    """A process that waits for its first letter: one that was prepared, if it still runs, else a new one."""
    while _waiting:
        process = _waiting.pop()
        if process.poll() is None:
            return process
        process.communicate()  # closes its pipes
    return spawn(WORKER)
