"""Structured logs: for people by default, JSON on request; to standard error and, rotated, to a file.

Texts of people, prompts and keys never go in: nobody passes them, whatever looks like a key is blotted out on the way,
and of an exception only its kind and the places are kept, since its message may quote what it choked on (the level
`debug` shows that too). A log that cannot be written stops nothing: the lines that were lost are counted.

The last lines stay in memory, for the diagnostics of a server whose log went elsewhere.
"""

import logging
import os
import re
import select
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

DAY_S = 86_400
PART = select.PIPE_BUF // 4  # characters that a pipe takes whole or not at all, at four bytes each
GRAVE = ("error", "critical")  # levels that are reported
REMEMBERED = 500  # lines
_KEY = re.compile(r"\b(?:ec-|sk-|ms-|hf_)[A-Za-z0-9_\-]{16,}|(?i:bearer\s+)\S+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Report = Callable[[EventDict], None]


def configure(
    level: str,
    form: Literal["human", "json"],
    file: Path | None = None,
    max_bytes: int = 10_000_000,
    days: int = 14,
    report: Report | None = None,
) -> None:
    """Send log lines of `level` and above to standard error, and to `file` if there is one; grave ones to `report`."""
    global _sink
    _sink = sink = Sink(sys.stderr, LogFile(file, max_bytes, days) if file else None)
    render: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and file is None)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if form == "json" else "%H:%M:%S", utc=form == "json"),
            _places(with_message=level == "debug"),
            _clean,
            *([_reporting(report)] if report else []),
            _remembering(sink.recent),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: sink,
    )
    logging.basicConfig(handlers=[_Bridge()], level=max(logging.WARNING, getattr(logging, level.upper())), force=True)


class Sink:
    """Where finished lines go; named like a logger's methods, as structlog wants it."""

    dropped = 0  # lines, of all sinks of this process

    def __init__(self, stream: TextIO, file: "LogFile | None") -> None:
        self._stream = stream
        self._file = file
        self.recent: deque[EventDict] = deque(maxlen=REMEMBERED)

    def msg(self, line: str) -> None:
        """Write `line`. A closed pipe, one that nobody reads, or a full disk costs the line, and is counted."""
        for write in (self._to_stream, self._file.write if self._file else None):
            try:
                if write:
                    write(line + "\n")
            except (OSError, ValueError):
                Sink.dropped += 1

    debug = info = warning = warn = error = critical = exception = fatal = msg

    def _to_stream(self, text: str) -> None:
        for at in range(0, len(text), PART):
            self._check_reader()
            self._stream.write(text[at : at + PART])
            self._stream.flush()

    def _check_reader(self) -> None:
        """Raise BlockingIOError where the reader of a pipe has stopped: waiting for it would stop the whole server."""
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # no file, or a closed one, which says so itself
            return
        ready = select.poll()
        ready.register(descriptor, select.POLLOUT)
        if not ready.poll(0):
            raise BlockingIOError


_sink = Sink(sys.stderr, None)


def current() -> Sink:
    """Where this process logs to."""
    return _sink


class LogFile:
    """A file that starts anew when it is large or a day old; what is older than `days` goes.

    edgechat.log is the newest; edgechat.log.20261122-235959 and its like are finished.
    """

    def __init__(self, path: Path, max_bytes: int, days: int, clock: Callable[[], float] = time.time) -> None:
        self._path, self._max_bytes, self._days, self._clock = path, max_bytes, days, clock
        self._lock = Lock()
        self._file: TextIO | None = None
        self._size, self._born = 0, 0.0

    def write(self, text: str) -> None:
        """Append `text`. Raises OSError."""
        with self._lock:
            file = self._current(len(text.encode()))
            file.write(text)
            file.flush()

    def close(self) -> None:
        """Let the file go; the next line opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _current(self, more: int) -> TextIO:
        """The file to write `more` bytes to."""
        now = self._clock()
        old = self._file is not None and not 0 <= now - self._born < DAY_S
        if self._file is None or old or self._size + more > self._max_bytes:
            if self._file is not None:
                self._file.close()
                self._file = None
                self._path.replace(self._finished(now))
                self._tidy(now)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
            self._size, self._born = os.fstat(descriptor).st_size, now
        self._size += more
        return self._file

    def _finished(self, now: float) -> Path:
        """A free name for a file that ends now."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        names = (f"{self._path.name}.{stamp}{extra}" for extra in ["", *(f"-{i}" for i in range(1, 1_000))])
        return next(path for name in names if not (path := self._path.with_name(name)).exists())

    def _tidy(self, now: float) -> None:
        """Remove what is too old, and beyond twenty files what is oldest."""
        finished = sorted(self._path.parent.glob(f"{self._path.name}.*"), key=lambda path: path.stat().st_mtime)
        for index, path in enumerate(finished):
            if now - path.stat().st_mtime > self._days * DAY_S or index < len(finished) - 20:
                path.unlink(missing_ok=True)


def _clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """No key gets through, and nobody begins a line of his own."""
    return {name: _cleaned(value) for name, value in event.items()}


def _reporting(report: Report) -> Processor:
    """Hands a copy of what is grave to `report`."""

    def reporting(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if event["level"] in GRAVE:
            report(dict(event))
        return event

    return reporting


def _remembering(recent: deque[EventDict]) -> Processor:
    """Keeps a copy of what goes by."""

    def remembering(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        recent.append(dict(event))
        return event

    return remembering


def without_keys(text: str) -> str:
    """`text`, and [key] where something looks like one."""
    return _KEY.sub("[key]", text)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], without_keys(value))
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list | tuple) else value


def _places(with_message: bool) -> Processor:
    """`exc_info` as the exception's kind and the lines it passed, innermost first."""

    def places(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        error = event.pop("exc_info", None)
        error = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
        if isinstance(error, BaseException):
            frames = traceback.extract_tb(error.__traceback__)[-8:]
            event["error"] = f"{type(error).__name__}: {error}" if with_message else type(error).__name__
            event["at"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
        return event

    return places


class _Bridge(logging.Handler):
    """Takes what libraries log into the same stream, by the same rules."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        log = structlog.get_logger(record.name)
        getattr(log, level if level in ("debug", "info", "warning", "error") else "error")(
            record.getMessage(), exc_info=record.exc_info
        )
