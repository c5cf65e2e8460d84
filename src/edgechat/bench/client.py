"""One streamed request, seen from the client: what came, and when.

Every request is a connection of its own, as if from a client of its own; no proxy, no redirect, loopback only: a load
test goes to nobody else's machine. What the server says is untrusted: bounded in time and bytes.
"""

import asyncio
import base64
import ipaddress
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from edgechat.errors import ConfigError
from edgechat.types import Message, Struct

if TYPE_CHECKING:
    import httpx  # imported where a client is made: the other commands start without it

REQUEST_S = 180.0  # the longest that one answer may take
CONNECT_S = 5.0
MOST_BYTES = 8 << 20  # of one answer, as it comes over the wire
MOST_WHY = 200  # characters of a server's complaint that are passed on


class Unmeasured(Exception):  # never leaves bench: it becomes a line of the report
    """A probe found no figure; the message says why."""


class Address(Struct, frozen=True):
    """A server to drive. `restart` restarts it: the operator's shell command, or a function where we started it."""

    label: str  # A, B, … in tables
    host: str
    port: int
    path: str = ""  # what stands before /v1
    model: str | None = None
    restart: str | Callable[[], Awaitable[None]] | None = None
    command: str = ""  # that started it, where it is ours

    @property
    def url(self) -> str:
        """The base address, without /v1."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"


def address(label: str, url: str, model: str | None = None, restart: str | None = None) -> Address:
    """The address that `url` names, with or without /v1 at its end. Raises ConfigError unless it is a loopback one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        raise ConfigError(f"{url!r} is not an address: write http://127.0.0.1:8080.") from None
    path = parts.path.rstrip("/").removesuffix("/v1")
    plain = re.fullmatch(r"(/[\w.~-]+)*", path, re.ASCII) and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme != "http" or not host or not plain:
        raise ConfigError(f"{url!r} is not a base address: write http://127.0.0.1:8080, without anything behind it.")
    if not _loopback(host):
        raise ConfigError(f"{host} is not this machine: a load test goes to 127.0.0.1, [::1] or localhost only.")
    return Address(label, host, port, path, model, restart)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Reading(Struct, frozen=True):
    """What one request got. Times are seconds on the performance counter."""

    sent: float
    over: float  # when the answer ended, well or not
    times: tuple[float, ...]  # when text came
    text: str
    ended: bool  # with a finish_reason and [DONE]
    model: str | None = None  # as the server calls it
    prompt_tokens: int | None = None
    cached_tokens: int | None = None  # of those of the prompt
    encode_ms: float | None = None  # of its pictures, where the server tells
    completion_tokens: int | None = None
    error: str | None = None  # one line: refused, cut off, or not understood

    def checked(self) -> Self:
        """The reading, if it is a whole answer with text. Raises Unmeasured."""
        if self.error is not None:
            raise Unmeasured(self.error)
        if not self.ended:
            raise Unmeasured("the stream ended without finish_reason and [DONE]")
        if not self.times:
            raise Unmeasured("the answer has no text")
        return self

    @property
    def first_s(self) -> float:
        """Seconds to the first text. Raises Unmeasured where none came."""
        if not self.times:
            raise Unmeasured(self.error or "the answer has no text")
        return self.times[0] - self.sent

    @property
    def took_s(self) -> float:
        """Seconds to the end."""
        return self.over - self.sent

    @property
    def tokens(self) -> int:
        """Tokens of the answer as the server counts them; without its count, pieces of text."""
        return len(self.times) if self.completion_tokens is None else self.completion_tokens

    @property
    def decode(self) -> float | None:
        """Tokens per second from the first text to the last; None with fewer than two pieces.

        A piece may hold several tokens (or a token give no piece): pieces per second times tokens per piece.
        """
        if len(self.times) < 2 or self.times[-1] <= self.times[0]:
            return None
        pieces = (len(self.times) - 1) / (self.times[-1] - self.times[0])
        return pieces * self.tokens / len(self.times)


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Encoded(msgspec.Struct, frozen=True):
    encode_ms: float


class _Truth(msgspec.Struct, frozen=True):
    """What edgechat tells of an answer."""

    media: tuple[_Encoded, ...] = ()


class _Chunk(msgspec.Struct, frozen=True):
    """The part of `chat.completion.chunk` that is measured; whatever else is there is skipped."""

    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    model: str | None = None
    edgechat: _Truth | None = None
    error: Any = None


_chunks = msgspec.json.Decoder(_Chunk)


class Answer:
    """One answer while it comes: `times` grows, `over` is set at the end, `changed` tells of both."""

    def __init__(self) -> None:
        self.sent = time.perf_counter()
        self.over: float | None = None
        self.times: list[float] = []
        self.changed = asyncio.Event()  # a new one after each change
        self.error: str | None = None
        self.done = False  # [DONE] came
        self._finished = False  # finish_reason came
        self._text: list[str] = []
        self._usage = _Usage()
        self._model: str | None = None
        self._truth = _Truth()

    def take(self, payload: bytes) -> None:
        """One event's data. Raises Unmeasured where it is no chunk."""
        if payload == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _chunks.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unmeasured(f"not a chat.completion.chunk: {error}") from None
        if chunk.error is not None:
            self.error = f"failed after the first byte: {why(chunk.error)}"
        self._usage = chunk.usage or self._usage
        self._model = chunk.model or self._model
        self._truth = chunk.edgechat or self._truth
        for choice in chunk.choices[:1]:
            self._finished |= choice.finish_reason is not None
            if text := (choice.delta.content or "") + (choice.delta.reasoning_content or ""):
                self.times.append(time.perf_counter())
                self._text.append(text)
                self._tell()

    def end(self) -> None:
        """Nothing more comes."""
        if self.over is None:
            self.over = time.perf_counter()
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def reading(self) -> Reading:
        """What has come so far."""
        details = self._usage.prompt_tokens_details
        return Reading(
            sent=self.sent,
            over=time.perf_counter() if self.over is None else self.over,
            times=tuple(self.times),
            text="".join(self._text),
            ended=self.done and self._finished and self.error is None,
            model=self._model,
            prompt_tokens=self._usage.prompt_tokens,
            cached_tokens=details.cached_tokens if details is not None else None,
            encode_ms=sum(one.encode_ms for one in self._truth.media) if self._truth.media else None,
            completion_tokens=self._usage.completion_tokens,
            error=self.error,
        )


class Client:
    """Asks one address. An async context manager."""

    def __init__(self, address: Address, key: str | None = None) -> None:
        import httpx

        self.address = address
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        time_out = httpx.Timeout(None, connect=CONNECT_S)
        self._http = httpx.AsyncClient(
            base_url=address.url, headers=headers, limits=limits, timeout=time_out, trust_env=False
        )
        self._transport_errors = (httpx.HTTPError, httpx.StreamError)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self,
        turns: Sequence[Message],
        most: int,
        user: str = "bench",
        answer: Answer | None = None,
        pictures: Sequence[bytes] = (),
    ) -> Reading:
        """Stream one answer of at most `most` tokens at temperature 0. What goes wrong is in the reading, not raised.

        `answer` lets the caller watch it come; `pictures`, PNG, stand before the first turn's text.
        """
        answer = Answer() if answer is None else answer
        body: dict[str, Any] = {
            "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
            "max_tokens": most,
        }
        if pictures:
            body["messages"][0]["content"] = [*map(_picture, pictures), {"type": "text", "text": turns[0].text}]
        body |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "user": user}
        if self.address.model is not None:
            body["model"] = self.address.model
        answer.sent = time.perf_counter()
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._stream(body, answer)
        except TimeoutError:
            answer.error = f"no end within {REQUEST_S:.0f} s"
        except Unmeasured as error:
            answer.error = str(error)
        except self._transport_errors as error:
            answer.error = f"no whole answer: {why(str(error) or type(error).__name__)}"
        finally:
            answer.end()
        return answer.reading

    async def tell_of(self, model: str | None) -> Any:
        """What the server tells of `model`, in Ollama's form. Raises Unmeasured where it tells nothing."""
        try:
            response = await self._http.post("/api/show", json={"model": model}, timeout=CONNECT_S)
            return msgspec.json.decode(response.content) if response.status_code == 200 else {}
        except (*self._transport_errors, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unmeasured(f"the server tells nothing of its model: {why(str(error))}") from None

    async def _stream(self, body: dict[str, Any], answer: Answer) -> None:
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                answer.error = f"HTTP {response.status_code}: {why(await _complaint(response))}"
                return
            async with aclosing(_payloads(response.aiter_raw())) as payloads:
                async for payload in payloads:
                    answer.take(payload)
                    if answer.done:
                        return


def _picture(png: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}


async def _payloads(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event. Comments and other fields are skipped."""
    rest, size = b"", 0
    async for piece in pieces:
        size += len(piece)
        if size > MOST_BYTES:
            raise Unmeasured(f"the answer is larger than {MOST_BYTES >> 20} MB")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


async def _complaint(response: "httpx.Response") -> Any:
    """What an error's body says: OpenAI's `error`, else its beginning."""
    body = b""
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > 1 << 16:
            break
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode(errors="replace")
    return told.get("error", told) if isinstance(told, dict) else told


def why(told: Any) -> str:
    """A complaint as one short line without control characters."""
    text = told.get("message", told) if isinstance(told, dict) else told
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return line if len(line) <= MOST_WHY else line[: MOST_WHY - 1] + "…"
