"""What a store does while it is killed: run with doom.c preloaded, told by lines `scenario n folder` what to do.

Each line is done by a fork that dies at its nth change of the disk (0: never). It prints what was acknowledged, then
`calls …` if it lived; its parent prints `end`.
"""

import ctypes
import os
import sqlite3
import sys
from pathlib import Path

import msgspec

from edgechat.history import attachments, conversations, exchange, files, intake, schema, turns
from edgechat.history.records import Outcome, Turn
from edgechat.history.store import History, export_copy
from tests.history.conftest import MOST, PICTURE


def say(*words: object) -> None:
    """One line, whole, at once."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def talk(history: History) -> None:
    """Three turns in one conversation, in a home that may be blank."""
    history.open()
    conversation = None
    for number in range(3):
        turn = Turn(content=f"question {number}", conversation_id=conversation, after_latest=conversation is not None)
        started, _ = history.write(turns.begin, "", turn, history.lease).result()
        conversation = started.conversation_id
        say("asked", number, started.answer_id)
        history.write(turns.checkpoint, started.answer_id, "part", "", "qwen").result()
        history.write(turns.finish, started.answer_id, Outcome("complete", "whole", finish_reason="stop")).result()
        say("answered", number, started.answer_id)


def _next(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE conversation ADD COLUMN colour TEXT NOT NULL DEFAULT 'plain'")


def migrate(history: History) -> None:
    """A step to the schema after ours, over conversations of ours."""
    schema.STEPS = (*schema.STEPS, _next)
    history.open()
    say("migrated")


def delete(history: History) -> None:
    """The newest conversation is deleted, then destroyed, and scrubbed from the file of recent changes."""
    history.open()
    newest = history.read(conversations.page, "").result().conversations[0].id
    history.free(conversations.delete, "", newest).result()
    say("deleted", newest)
    history.free(conversations.purge, "", newest).result()
    say("purged", newest)
    history.scrub().result()


def take(history: History) -> None:
    """Everything is imported again, for somebody else."""
    history.open()
    document = msgspec.json.decode(b"".join(exchange.as_json(history, "")))
    intake.take_in(history, "other", document, MOST)
    say("imported")


def attach(history: History) -> None:
    """A picture is uploaded, used by a message, and destroyed with it."""
    history.open()
    incoming = files.stored(history.attachments, PICTURE)
    kept = history.write(attachments.put, "", incoming, MOST, conversations.now()).result()
    files.settle(history.attachments, incoming, kept)
    say("uploaded", incoming.sha256)
    turn = Turn(content="What is it?", attachments=(incoming.sha256,))
    started, _ = history.write(turns.begin, "", turn, history.lease).result()
    say("asked", started.message_id)
    history.free(conversations.purge, "", started.conversation_id).result()
    say("purged", started.conversation_id)
    history.sweep()


def backup(history: History) -> None:
    """A copy is made beside the file."""
    history.open()
    history.read(export_copy, history.folder / "copy.db", history.attachments).result()
    say("copied")


def main() -> None:
    doom = ctypes.CDLL(None)
    scenarios = {scenario.__name__: scenario for scenario in (talk, migrate, delete, take, attach, backup)}
    for line in sys.stdin:
        name, at, folder = line.split(maxsplit=2)
        if (child := os.fork()) == 0:
            doom.doom(int(at))
            history = History(Path(folder.strip()))
            scenarios[name](history)
            history.close()
            say("calls", doom.calls())
            os._exit(0)
        os.waitpid(child, 0)
        say("end")


if __name__ == "__main__":
    main()
