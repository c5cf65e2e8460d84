"""A server that says what a test tells it to: the real page in front of scripted readiness, runs and conversations.

It runs in a thread of the test process, so a test and the server share `Script`: a `Gate` in an answer holds it until
the test opens the gate, and nothing has to be timed.
"""

import asyncio
import hashlib
import io
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
from starlette.middleware.base import RequestResponseEndpoint

from edgechat.api.page.assets import mount_page
from edgechat.media.size import size_of
from edgechat.prompt.sight import forecast, usual
from tests.browser.records import Records

MODEL = "qwen1.5-0.5b-chat"
READY: dict[str, Any] = {
    "state": "ready",
    "model": MODEL,
    "wanted": None,
    "why": None,
    "hint": None,
    "languages": ["zh", "en"],
}


class Gate(threading.Event):
    """Holds an answer until the test calls `set`."""


class Cut:
    """Breaks the readers' connections; the run goes on."""


Told = tuple[str, dict[str, Any]]
Part = Told | Gate | Cut


@dataclass
class Refusal:
    """What a POST gets instead of an answer."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Run:
    """An answer in the making: what was told so far, in order."""

    conversation: str
    answer: str
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cuts: int = 0
    over: bool = False


@dataclass
class Script:
    """What the server says next, and what it has seen."""

    ready: dict[str, Any] = field(default_factory=lambda: dict(READY))
    answers: deque[list[Part] | Refusal] = field(default_factory=deque)
    requests: list[dict[str, Any]] = field(default_factory=list)  # bodies of POST /api/runs
    resumed: list[str | None] = field(default_factory=list)  # Last-Event-ID of every reader
    keys: list[str] = field(default_factory=list)
    records: Records = field(default_factory=Records)
    runs: dict[str, Run] = field(default_factory=dict)
    stored: dict[str, Run] = field(default_factory=dict)  # that are over for minutes: only the store knows them
    stopped: list[str] = field(default_factory=list)
    imports: list[dict[str, Any]] = field(default_factory=list)  # what comes of lists of conversations
    imported: list[Any] = field(default_factory=list)  # these lists
    models: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # of the models
    key: str = ""  # that a browser has to give, if there is one
    let_in: bool = False
    figures: dict[str, Any] = field(default_factory=lambda: {"running": 0, "waiting": 0, "speed": [0.0] * 60})
    held: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)  # by SHA-256: name, type, bytes
    presets: dict[str, Any] = field(default_factory=lambda: {"version": 0, "presets": []})

    def reset(self) -> None:
        """Forget everything; let nobody wait for a gate of the last test."""
        for run in self.runs.values():
            run.over = True
        self.__init__()  # type: ignore[misc]

    def will(self, *parts: Part) -> None:
        """Answer the next unanswered question with `parts`."""
        self.answers.append(list(parts))

    def will_say(self, text: str, **end: Any) -> None:
        """Answer with `text` in small pieces and a regular end."""
        self.will(*[delta(text[at : at + 7]) for at in range(0, len(text), 7)], *finish(**end))

    def will_refuse(self, status: int, body: str = "", **headers: str) -> None:
        """Refuse the next unanswered question."""
        self.answers.append(Refusal(status, body, headers))

    def restart(self) -> None:
        """What a server that was killed and started again knows: no run, and answers that will never be whole."""
        for run in self.runs.values():
            run.over = True
            run.cuts += 1
        self.runs = {}
        self.records.interrupt()


def delta(text: str) -> Part:
    """A piece of the answer."""
    return "delta", {"t": text}


def thought(text: str) -> Part:
    """A piece of what the model thinks."""
    return "reasoning", {"t": text}


def finish(tokens: int = 412, speed: float | None = 6.23, reason: str = "stop", used: int = 432) -> tuple[Told, Told]:
    """The last events of a whole answer."""
    usage = {"prompt": 20, "cached": 0, "completion": tokens, "ttft_ms": 1800.0, "tps": speed}
    return ("usage", usage | {"ctx_used": used, "ctx_max": 4096}), ("done", {"finish_reason": reason})


def failed(code: str, message: str, **more: Any) -> Part:
    """The end of an answer that broke."""
    return "error", {"code": code, "message": message, "retryable": True, "retry_after_s": None} | more


def problem(code: str, message: str) -> str:
    """The body of a refusal."""
    return json.dumps({"error": {"message": message, "type": "server_error", "param": None, "code": code}})


def create_app(script: Script) -> FastAPI:
    """The scripted application."""
    app = FastAPI()
    mount_page(app)

    @app.middleware("http")
    async def as_the_real_one(request: Request, call_next: RequestResponseEndpoint) -> Response:
        is_upload = request.url.path == "/api/attachments"
        kind = ("image/", "application/octet-stream") if is_upload else "application/json"
        if request.method not in ("GET", "HEAD") and not request.headers.get("content-type", "").startswith(kind):
            return Response(problem("invalid_request", "Send the body as application/json."), 415)
        if script.key and not script.let_in and request.url.path.startswith("/api/c"):
            return Response(problem("invalid_api_key", "A key is needed."), 401)
        return await call_next(request)

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        return JSONResponse(script.ready, 200 if script.ready["state"] == "ready" else 503)

    @app.post("/api/runs")
    async def begin(request: Request) -> Response:
        script.keys.append(request.headers["idempotency-key"])
        body = await request.json()
        script.requests.append(body)
        if not script.answers:
            return Response(problem("internal_error", "the test has scripted no answer"), 500)
        answer = script.answers.popleft()
        if isinstance(answer, Refusal):
            return Response(answer.body, answer.status, answer.headers, "application/json")
        for one in body.get("attachments", ()):
            assert one in script.held
        held = [
            {"sha256": one, "kind": "picture", "media_type": script.held[one][1], "name": script.held[one][0]}
            for one in body.get("attachments", ())
        ]
        started = script.records.begin(body, held)
        run = script.runs[started["run_id"]] = Run(started["conversation_id"], started["answer_id"])
        if "continues" in body:
            run.told.append(("snapshot", script.records.text_of(run.conversation, run.answer)))
        app.state.tasks = [*getattr(app.state, "tasks", []), asyncio.create_task(_perform(script, run, answer))]
        return JSONResponse(started, 201)

    @app.get("/api/runs/{id}/events")
    async def events(id: str, request: Request) -> Response:
        last = request.headers.get("last-event-id")
        script.resumed.append(last)
        if id in script.stored:
            return StreamingResponse(_stored(script, script.stored[id]), media_type="text/event-stream")
        if id not in script.runs:
            return Response(problem("not_found", f"there is no run {id!r}"), 404)
        return StreamingResponse(_told(script.runs[id], int(last or 0)), media_type="text/event-stream")

    @app.delete("/api/runs/{id}", status_code=204)
    async def stop(id: str) -> None:
        script.stopped.append(id)
        run = script.runs[id]
        if not run.over:
            run.told.append(finish(tokens=7)[0])
            _end(script, run, ("done", {"finish_reason": "stopped"}))

    @app.put("/api/attachments")
    async def keep(request: Request, name: str = "") -> dict[str, Any]:
        content = await request.body()
        sha256 = hashlib.sha256(content).hexdigest()
        media_type = request.headers["content-type"]
        script.held[sha256] = name, media_type, content
        size = size_of(io.BytesIO(content), media_type)
        return {"sha256": sha256, "kind": "picture", "tokens": forecast(*size, 32, usual(*size, 32)) if size else None}

    @app.get("/api/attachments/{sha256}")
    async def kept(sha256: str) -> Response:
        _, media_type, content = script.held[sha256]
        return Response(content, media_type=media_type)

    script_conversations(app, script)
    return app


def script_conversations(app: FastAPI, script: Script) -> None:
    """The routes around stored conversations, and what the dialogs ask for."""

    @app.get("/api/conversations")
    async def page(q: str = "", cursor: str = "", deleted: bool = False) -> dict[str, Any]:
        return script.records.page(q, cursor, deleted)

    @app.get("/api/conversations/deleted-messages")
    async def deleted_messages() -> dict[str, Any]:
        return {"messages": script.records.removed()}

    @app.get("/api/conversations/{id}")
    async def get(id: str) -> Response:
        found = script.records.get(id)
        return JSONResponse(found) if found else Response(problem("not_found", "gone"), 404)

    @app.patch("/api/conversations/{id}")
    async def change(id: str, request: Request) -> Response:
        status, body = script.records.change(id, await request.json())
        return JSONResponse(body, status)

    @app.delete("/api/conversations/{id}", status_code=204)
    async def delete(id: str) -> None:
        script.records.delete(id)

    @app.delete("/api/conversations")
    async def delete_all() -> dict[str, int]:
        return {"deleted": script.records.delete_all()}

    @app.post("/api/conversations/{id}/restore")
    async def restore(id: str) -> dict[str, Any]:
        return script.records.restore(id)

    @app.delete("/api/conversations/{id}/messages/{message}")
    async def delete_message(id: str, message: str) -> dict[str, Any]:
        return script.records.delete_message(id, message)

    @app.post("/api/conversations/{id}/messages/{message}/restore")
    async def restore_message(id: str, message: str) -> dict[str, Any]:
        return script.records.restore_message(id, message)

    @app.get("/api/export")
    async def export() -> Response:
        return Response("# Plan\n", headers={"Content-Disposition": "attachment; filename=plan.md"})

    @app.post("/api/import")
    async def load(request: Request) -> Response:
        body = await request.json()
        if isinstance(body, list):
            script.imported.append(body)
            return JSONResponse(script.imports.pop(0), 201)
        if "conversations" not in body:
            return Response(problem("invalid_request", "messages[3].role: <img src=x onerror=alert(1)>"), 400)
        return JSONResponse({"imported": len(body["conversations"])}, 201)

    @app.get("/api/status")
    async def status() -> dict[str, Any]:
        defaults = {"temperature": 0.7, "top_p": 0.8, "top_k": 40, "min_p": 0.0, "repetition_penalty": 1.0}
        memory = {"rss": 612_000_000, "available": 2_400_000_000}
        return script.ready | {"defaults": defaults, "memory": memory} | script.figures

    @app.get("/api/models")
    async def models() -> dict[str, Any]:
        return {"models": script.models}

    @app.post("/api/models/{name:path}/{what}", status_code=202)
    async def model(name: str, what: str) -> dict[str, str]:
        script.asked.append(f"{what} {name}")
        return {"name": name}

    @app.delete("/api/models/{name:path}/download", status_code=204)
    async def cancel(name: str) -> None:
        script.asked.append(f"cancel {name}")

    @app.delete("/api/models/{name:path}", status_code=204)
    async def remove(name: str) -> None:
        script.asked.append(f"remove {name}")
        script.models = [row for row in script.models if row["name"] != name]

    @app.post("/api/login")
    async def login(request: Request) -> Response:
        script.let_in = (await request.json())["key"] == script.key
        return JSONResponse({"needed": not script.let_in}, 200 if script.let_in else 401)

    @app.get("/api/login")
    async def who() -> dict[str, Any]:
        return {"needed": False, "name": "ann" if script.let_in else None, "operator": not script.key}

    @app.post("/api/logout")
    async def logout() -> Response:
        script.let_in = False
        return Response(status_code=204)

    @app.get("/api/presets")
    async def presets() -> dict[str, Any]:
        return script.presets

    @app.put("/api/presets")
    async def keep_presets(request: Request) -> dict[str, Any]:
        script.presets = await request.json()
        return script.presets


async def _perform(script: Script, run: Run, parts: list[Part]) -> None:
    for part in parts:
        if isinstance(part, Gate):
            while not part.is_set() and not run.over:  # the gate opens in another thread
                await asyncio.sleep(0.005)
        elif isinstance(part, Cut):
            run.cuts += 1
            await asyncio.sleep(0.02)
        elif not run.over:
            if part[0] in ("done", "error"):
                _end(script, run, part)
            else:
                run.told.append(part)
            await asyncio.sleep(0)
        if run.over:
            return


def _end(script: Script, run: Run, last: tuple[str, dict[str, Any]]) -> None:
    run.told.append(last)
    run.over = True
    script.records.finish(run.conversation, run.answer, run.told)


async def _stored(script: Script, run: Run) -> AsyncIterator[bytes]:
    """The events without numbers that the real server makes of what it has stored."""
    yield b": here it comes\n\n"
    for name, data in (("snapshot", script.records.text_of(run.conversation, run.answer)), *run.told[-2:]):
        yield f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _told(run: Run, last: int) -> AsyncIterator[bytes]:
    yield b": here it comes\n\n"
    cuts = run.cuts
    while run.cuts == cuts:
        for number, (name, data) in enumerate(run.told[last:], last + 1):
            yield f"event: {name}\nid: {number}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
            last = number
        if run.over and last == len(run.told):
            return
        await asyncio.sleep(0.002)


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
