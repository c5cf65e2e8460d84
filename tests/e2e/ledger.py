"""A judge from outside: clients that write down what they were promised, on a disk of their own, and look for it later.

Imports nothing of edgechat. Every line of a ledger is flushed before the next request goes out:

    start  a message is about to be sent          info   no answer came: it may be there or not
    ok     it was acknowledged                    fail   it was refused: it must not be there
    text   what was read of an answer so far      done   the server said that the answer is stored
"""

import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

WINDOW_S = 3.0  # what was read longer ago must be stored, and two commits, as long as they take on this disk
Line = dict[str, Any]
Answer = tuple[int, Any]  # status, and the body as JSON


class Ledger:
    """What one client knows for certain."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._file = path.open("a")

    def write(self, what: str, **fact: Any) -> None:
        """Note a fact, so that it outlives this process too."""
        line = {"what": what, "at": time.monotonic(), **fact}
        self.lines.append(line)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more facts."""
        self._file.close()


class Client(threading.Thread):
    """Talks in a few conversations until it is told to end, whatever happens to the server."""

    def __init__(self, number: int, port: int, folder: Path, over: threading.Event, seed: int) -> None:
        super().__init__(name=f"client {number}")
        self.ledger = Ledger(folder / f"client-{number}.jsonl")
        self._number, self._port, self._over = number, port, over
        self._random = random.Random(seed * 1000 + number)
        self._conversations: list[str] = []
        self._count = 0

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._turn()
            except (OSError, HTTPException):
                time.sleep(0.1)  # the server is away
        self.ledger.close()

    def _turn(self) -> None:
        """One message; sometimes its answer is read, sometimes stopped, sometimes left alone."""
        started = self.say()
        if started is None:
            return
        fate = self._random.random()
        if fate < 0.3:
            self.read(started, self._random.uniform(0.1, 1.5))
        elif fate < 0.4:
            request(self._port, "DELETE", f"/api/runs/{started['run_id']}")

    def say(self) -> Line | None:
        """Send a message and note what became of it. One without an answer is sometimes sent again, under its key."""
        self._count += 1
        text = f"message {self._number}.{self._count} 你好 {self._random.getrandbits(64):x}"
        body: Line = {"content": text}
        if self._conversations and self._random.random() < 0.8:
            body["conversation_id"] = self._random.choice(self._conversations[-3:])
        self.ledger.write("start", text=text)
        try:
            (status, answer), took = self._insist(body, text.replace("你好", ""))
        except (OSError, HTTPException):
            self.ledger.write("info", text=text)
            raise
        if status != 201:
            self.ledger.write("fail", text=text, status=status)
            return None
        self.ledger.write("ok", text=text, took=took, **answer)
        if answer["conversation_id"] not in self._conversations:
            self._conversations.append(answer["conversation_id"])
        return dict(answer)

    def _insist(self, body: Line, key: str) -> tuple[Answer, float]:
        """Send a turn until there is an answer, or patience ends; and the seconds that one took."""
        while True:
            begun = time.monotonic()
            try:
                answer = request(self._port, "POST", "/api/runs", body, {"Idempotency-Key": key})
                return answer, time.monotonic() - begun
            except (OSError, HTTPException):
                if self._over.is_set() or self._random.random() < 0.5:
                    raise
                time.sleep(0.2)

    def read(self, started: Line, seconds: float) -> None:
        """Follow an answer for some time."""
        said, event = "", ""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        with closing(connection):
            connection.request("GET", f"/api/runs/{started['run_id']}/events")
            until = time.monotonic() + seconds
            for raw in connection.getresponse():
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "event":
                    event = value
                elif field == "data" and event == "delta":
                    said += json.loads(value)["t"]
                    self.ledger.write("text", answer_id=started["answer_id"], text=said)
                elif field == "data" and event in ("done", "error"):
                    if json.loads(value)["saved"]:
                        self.ledger.write("done", answer_id=started["answer_id"], text=said)
                    return
                if time.monotonic() > until:
                    return


def request(port: int, method: str, path: str, body: Line | None = None, headers: Line | None = None) -> Answer:
    """One request on a connection of its own: status, and the body as JSON."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None


# ── the judge ──


def window(ledgers: list[Ledger]) -> float:
    """How long before a kill something must have been read to be stored for certain, in seconds.

    A checkpoint comes every second, behind a commit that may be under way. How long a commit takes is known from the
    slowest acknowledgement: seconds, where others use the disk.
    """
    acknowledged = [line["took"] for ledger in ledgers for line in ledger.lines if line["what"] == "ok"]
    return WINDOW_S + 2 * max(acknowledged, default=0)


def stored(port: int) -> list[Line]:
    """Every conversation, by the public API."""
    found, cursor = [], ""
    while True:
        _, page = request(port, "GET", f"/api/conversations?limit=200&cursor={cursor}")
        found += [request(port, "GET", f"/api/conversations/{head['id']}")[1] for head in page["conversations"]]
        if page["next"] is None:
            return found
        cursor = page["next"]


def complaints(ledgers: list[Ledger], conversations: list[Line], database: Path, killed: list[float]) -> list[str]:
    """Everything that is not as it was promised."""
    messages = [message for one in conversations for message in one["messages"]]
    users = Counter(message["content"] for message in messages if message["role"] == "user")
    answers = {message["id"]: message for message in messages if message["role"] == "assistant"}
    found = [f"still running: {m['id']}" for m in messages if m["status"] == "running"]
    found += [f"of no model: {m['id']}" for m in answers.values() if m["content"] and not m["model"]]
    for ledger in ledgers:
        found += _of_one(ledger, users, answers, killed, window(ledgers))
    for one in conversations:
        if [m["seq"] for m in one["messages"]] != list(range(1, len(one["messages"]) + 1)):
            found.append(f"gaps in {one['id']}")
    found += _order(ledgers, conversations)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        found += [f"the file: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"a loose end: {row}" for row in db.execute("PRAGMA foreign_key_check")]
    return found


def age_of_lost_text(ledgers: list[Ledger], conversations: list[Line], killed: list[float]) -> float:
    """Seconds between the reading of the oldest text that a kill took away, and that kill."""
    answers = {m["id"]: m["content"] for one in conversations for m in one["messages"] if m["role"] == "assistant"}
    ages = [0.0]
    for line in (line for ledger in ledgers for line in ledger.lines if line["what"] == "text"):
        kill = next((at for at in killed if at > line["at"]), None)
        if kill is not None and len(answers[line["answer_id"]]) < len(line["text"]):
            ages.append(kill - line["at"])
    return max(ages)


def _of_one(
    ledger: Ledger, users: Counter[str], answers: dict[str, Line], killed: list[float], window_s: float
) -> list[str]:
    """I1 to I4: acknowledged exactly once, refused never, unknown at most once, read text kept."""
    found = []
    for line in ledger.lines:
        count = users[line.get("text", "")]
        match line["what"]:
            case "ok" if count != 1:
                found.append(f"acknowledged, and {count} times there: {line['text']}")
            case "fail" if count:
                found.append(f"refused, and there: {line['text']}")
            case "info" if count > 1:
                found.append(f"unknown, and {count} times there: {line['text']}")
            case "done" if answers[line["answer_id"]]["content"] != line["text"]:
                found.append(f"said to be stored, and is not: {line['answer_id']}")
            case "text":
                kept = answers[line["answer_id"]]["content"]
                next_kill = next((at for at in killed if at > line["at"]), line["at"] + 60)
                if not (kept.startswith(line["text"]) or line["text"].startswith(kept)):
                    found.append(f"another text than was read: {line['answer_id']}")
                elif len(kept) < len(line["text"]) and next_kill - line["at"] > window_s:
                    found.append(f"read long before the kill, and lost: {line['answer_id']}")
    return found


def _order(ledgers: list[Ledger], conversations: list[Line]) -> list[str]:
    """I5: within a conversation, the order of acknowledgements. Each has one client, who speaks in turn."""
    found = []
    places = {m["content"]: m["seq"] for one in conversations for m in one["messages"] if m["role"] == "user"}
    for ledger in ledgers:
        spoken: dict[str, int] = {}
        for line in ledger.lines:
            if line["what"] == "ok" and line["text"] in places:
                if places[line["text"]] < spoken.get(line["conversation_id"], 0):
                    found.append(f"out of order: {line['text']}")
                spoken[line["conversation_id"]] = places[line["text"]]
    return found
