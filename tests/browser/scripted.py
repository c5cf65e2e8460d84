"""A server that says what a test tells it to: the real page in front of scripted readiness and scripted answers.

It runs in a thread of the test process, so a test and the server share `Script`: a `Gate` in an answer holds it
until the test opens the gate, and nothing has to be timed.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from edgechat.api.page import mount_page

MODEL = "qwen1.5-0.5b-chat"
READY: dict[str, Any] = {"state": "ready", "model": MODEL, "wanted": None, "why": None, "hint": None}
DONE = "data: [DONE]\n\n"


class Gate(threading.Event):
    """Holds an answer until the test calls `set`."""


Part = str | bytes | Gate


@dataclass
class Answer:
    """What one POST gets: a status, and a body sent part by part."""

    parts: list[Part] = field(default_factory=list)
    status: int = 200


@dataclass
class Script:
    """What the server says next, and what it has seen."""

    ready: dict[str, Any] = field(default_factory=lambda: dict(READY))
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)  # a reader went before the end

    def reset(self) -> None:
        """Forget everything; let nobody wait for a gate of the last test."""
        self.__init__()  # type: ignore[misc]

    def will(self, *parts: Part, status: int = 200) -> None:
        """Answer the next unanswered POST with `parts`."""
        self.answers.append(Answer(list(parts), status))

    def will_say(self, text: str, **end: Any) -> None:
        """Answer with `text` in small pieces and a regular end."""
        self.will(*[delta(text[at : at + 7]) for at in range(0, len(text), 7)], *finish(**end))


def event(payload: dict[str, Any]) -> str:
    """One data event, the characters beyond ASCII as they are."""
    return f"data: {json.dumps(payload, ensure_ascii=False)}\n\n"


def chunk(**choice: Any) -> dict[str, Any]:
    """A chat.completion.chunk with one choice."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "finish_reason": None, "delta": {}} | choice],
    }


def delta(text: str) -> str:
    """A piece of the answer."""
    return event(chunk(delta={"content": text}))


def finish(tokens: int = 412, speed: float | None = 6.23, reason: str = "stop") -> tuple[str, str, str]:
    """The last chunks of a whole answer."""
    usage = {"prompt_tokens": 20, "completion_tokens": tokens, "total_tokens": 20 + tokens}
    timing = {"queue_ms": 1.0, "prefill_ms": 80.5, "decode_tok_s": speed, "stop_reason": "eos"}
    if reason == "length":
        timing["stop_reason"] = "length"
    last = chunk() | {"choices": [], "usage": usage, "edgechat": timing}
    return event(chunk(finish_reason=reason)), event(last), DONE


def error(code: str, message: str) -> dict[str, Any]:
    """OpenAI's error shape."""
    return {"error": {"message": message, "type": "server_error", "param": None, "code": code}}


def create_app(script: Script) -> FastAPI:
    """The scripted application."""
    app = FastAPI()
    mount_page(app)

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        return JSONResponse(script.ready, 200 if script.ready["state"] == "ready" else 503)

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        script.requests.append(await request.json())
        if not script.answers:
            return JSONResponse(error("internal_error", "the test has scripted no answer"), 500)
        answer = script.answers.popleft()
        if answer.status != 200:
            return Response("".join(map(str, answer.parts)), answer.status, media_type="application/json")
        return StreamingResponse(_spoken(answer, script.left), media_type="text/event-stream")

    return app


async def _spoken(answer: Answer, left: threading.Event) -> AsyncIterator[bytes]:
    try:
        for part in answer.parts:
            if isinstance(part, Gate):
                while not part.is_set():  # the gate opens in another thread
                    await asyncio.sleep(0.005)
            else:
                yield part.encode() if isinstance(part, str) else part
                await asyncio.sleep(0)
    except (asyncio.CancelledError, GeneratorExit):
        left.set()
        raise


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run `app` in a thread on a free port; gives its address."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="scripted")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the scripted server did not start"
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
