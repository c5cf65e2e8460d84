"""A small OpenAI-compatible server whose faults and delays are known, in a thread: what the probes are held against."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

CHARS = 4  # per token of a prompt
PICTURE = "data:image/png;base64,"


@dataclass
class Script:
    """How the server behaves. Seconds are slept, so that figures are at least what the script says."""

    token_s: float = 0.002
    read_s: float = 0.0  # per token of a prompt that is not remembered
    serial: bool = False  # one request at a time, first come first served
    encode_s: float = 0.0  # per picture that is not remembered
    freezes: bool = False  # everybody waits while a prompt is read
    remembers: bool = False  # prefixes of earlier prompts cost nothing
    core: asyncio.Lock | None = None  # one token at a time, of all that share it
    usage: bool = True
    said: int = 10_000  # tokens after which it ends by itself
    refuse: dict[int, int] = field(default_factory=dict)  # request, from 0 -> status
    cut: frozenset[int] = frozenset()  # requests whose stream just ends
    fail: frozenset[int] = frozenset()  # requests that end with an error event
    mix: bool = False  # every answer gets a word of the one before
    key: str | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)


class Scripted:
    """What answers, and its state."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._numbers = count()
        self._turn = asyncio.Lock()
        self._seen: list[str] = []
        self._last_word = "nobody"

    async def answer(self, request: Request) -> Response:
        script, number = self.script, next(self._numbers)
        body = await request.json()
        script.bodies.append(body)
        if script.key and request.headers.get("authorization") != f"Bearer {script.key}":
            return JSONResponse({"error": {"message": "no such key\x1b[31m", "code": "invalid_api_key"}}, 401)
        if number in script.refuse:
            return JSONResponse({"error": {"message": "come back later"}}, script.refuse[number])
        return StreamingResponse(self.stream(body, number), media_type="text/event-stream")

    async def stream(self, body: dict[str, Any], number: int) -> AsyncIterator[bytes]:
        script = self.script
        yield b": a comment\n\n" + event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        async with self._turn if script.serial else nullcontext():
            prompt = "".join(map(text_of, body["messages"]))
            known = self._known(prompt)
            new = script.encode_s * (PICTURE in prompt and known < len(prompt) / 2)
            read = (len(prompt) - known) / CHARS * script.read_s + new
            await asyncio.sleep(0 if script.freezes else read)
            time.sleep(read if script.freezes else 0)  # noqa: ASYNC251 - everybody waits
            self._seen.append(prompt)
            words = self._words(text_of(body["messages"][-1]))[: min(body["max_tokens"], script.said)]
            for position, word in enumerate(words):
                if position == 3 and number in script.cut:
                    return
                if position == 3 and number in script.fail:
                    yield event({"error": {"message": "the engine ended", "code": "engine_failed"}})
                    return
                async with script.core or nullcontext():
                    await asyncio.sleep(script.token_s)
                yield event({"choices": [{"delta": {"content": word}}], "model": body.get("model", "scripted")})
        told = {"edgechat": {"media": [{"encode_ms": 1000 * new}]}} if PICTURE in prompt and script.encode_s else {}
        yield event({"choices": [{"delta": {}, "finish_reason": "stop"}], **told})
        if script.usage:
            tokens: dict[str, Any] = {"prompt_tokens": len(prompt) // CHARS, "completion_tokens": len(words)}
            if script.remembers:
                tokens["prompt_tokens_details"] = {"cached_tokens": known // CHARS}
            yield event({"choices": [], "usage": tokens})
        yield b"data: [DONE]\n\n"

    def _known(self, prompt: str) -> int:
        """Characters of `prompt` that an earlier one began with."""
        if not self.script.remembers:
            return 0
        return max((alike(prompt, seen) for seen in self._seen), default=0)

    def _words(self, asked: str) -> list[str]:
        if not asked.startswith("Repeat exactly: "):
            return [f"{number}\n" for number in range(1, 1001)]
        words = [f" {word}" for word in asked.split()[2:]]
        if self.script.mix:
            words[1], self._last_word = self._last_word, words[1]
        return words


def text_of(turn: dict[str, Any]) -> str:
    """All of a message, its pictures as they came."""
    content = turn["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] if part["type"] == "text" else part["image_url"]["url"] for part in content)


def alike(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\r\n\r\n".encode()


class Serving:
    """A server in a thread. `scripted` may be replaced between two tests: a new one has seen nothing."""

    def __init__(self, script: Script, port: int = 0) -> None:
        self.scripted = Scripted(script)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        app = FastAPI()
        app.post("/v1/chat/completions")(self._answer)
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()

    async def _answer(self, request: Request) -> Response:
        return await self.scripted.answer(request)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
