"""Server-sent events: how they are framed."""

from typing import Any

import msgspec

MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}  # no proxy should hold a stream back
DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    """`value` as one event, JSON on one line."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """`value` as one event, named by its own `type`."""
    return f"event: {value['type']}\n".encode() + data(value)


def event(name: str, value: Any, id: int = 0) -> bytes:
    """`value` as an event with a name, and a number to come back with; 0 is none."""
    number = f"id: {id}\n" if id else ""
    return f"event: {name}\n{number}".encode() + data(value)


def comment(text: str) -> bytes:
    """A line that every client skips and a curious one may read."""
    return f": {text}\n\n".encode()


PING = named({"type": "ping"})  # the sign of life that Anthropic's clients count


def is_aside(body: bytes) -> bool:
    """Whether there is nothing in it but comments and pings."""
    return all(line.startswith(b":") for line in body.replace(PING, b"").split(b"\n") if line)
