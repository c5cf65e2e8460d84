"""Diagnostics: what helps to find a fault, in a zip file; versions, machine, settings, models, the log's end. Nobody's
words.

    edgechat doctor --bundle FILE ─┐                        ┌─ about.json  settings.json  models.json  log.txt
    /dashboard: "Diagnostics"      ┴─► gathered ─► packed ──┴─ doctor.json (the command's)  status.json  metrics.txt

Secrets in settings are masked. Of the log's lines, what quotes an exception or the engine's own words is left out.
"""

import io
import json
import math
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import msgspec
import psutil
from structlog.typing import EventDict

from edgechat import __version__, machine
from edgechat.errors import EdgechatError
from edgechat.observe import logs
from edgechat.settings import Settings
from edgechat.types import Struct

LOG_BYTES = 256_000  # of the log's end
Kept = Callable[[], Sequence[Struct]]

SECRET = {"sentry_dsn"}  # settings that are one
HIDDEN = "[hidden]"
QUOTING = ("words", "line")  # of a log line: what the engine's process said
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(?<=\?)[^#\s]+")
_KIND = re.compile(r"\s*\b(?:error=['\"]?(?P<kind>\w+)|words=|line=).*")  # in a line for people

README = """\
Diagnostics of edgechat: {now}.

No message, title, prompt or answer is in here, and no key. The settings' secrets are masked. What you may want to look
through before you pass it on: names of models, keys' names, addresses of clients, paths of folders.
"""


def gathered(settings: Settings, kept: Kept, log: str | None = None) -> dict[str, object]:
    """The parts of a bundle that need no server, by file name. `kept` reads what is on disk, or raises EdgechatError.

    `log` is the end of the log, if it is known better.
    """
    return {
        "README.txt": README.format(now=datetime.now(UTC).isoformat(timespec="seconds")),
        "about.json": about(settings),
        "settings.json": masked(settings),
        "models.json": models(kept),
        "log.txt": log_file_end(settings.log_file) if log is None else log,
    }


def packed(parts: Mapping[str, object]) -> bytes:
    """A zip file of `parts`: text and bytes as they are, everything else as JSON."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in sorted(parts.items()):
            plain = part if isinstance(part, str | bytes) else json.dumps(part, ensure_ascii=False, indent=2)
            archive.writestr(name, plain)
    return sink.getvalue()


def unpacked(bundle: bytes) -> dict[str, object]:
    """The parts of a bundle. Raises zipfile.BadZipFile."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def about(settings: Settings) -> dict[str, Any]:
    """Versions and machine; sizes in bytes."""
    name, flags = machine.processor()
    memory = psutil.virtual_memory()
    folder = next(parent for parent in (settings.home, *settings.home.parents) if parent.exists())
    return {
        "edgechat": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "packages": dict(_packages()),
        "processor": {"name": name, "flags": sorted(flags), "count": os.cpu_count(), "granted": machine.cores()},
        "memory": {"limit": machine.memory_limit(), "available": memory.available, "total": memory.total},
        "disk": {"folder": str(settings.home), "free": shutil.disk_usage(folder).free},
    }


def _packages() -> Iterable[tuple[str, str]]:
    """What edgechat asks for, extras included, as far as it is installed."""
    try:
        wanted = requires("edgechat") or []
    except PackageNotFoundError:  # it runs from a folder
        return
    for name in sorted({re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted}):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def masked(settings: Settings) -> dict[str, Any]:
    """The settings in force, without passwords in addresses and what else opens a door."""
    return {name: _mask(name, value) for name, value in settings.model_dump().items()}


def _mask(name: str, value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else "never"
        case dict():
            return {key: _mask(name, one) for key, one in value.items()}
        case tuple():
            return [_mask(name, one) for one in value]
    return HIDDEN if name in SECRET else _plain(str(value))


def _plain(address: str) -> str:
    return logs.without_keys(_QUERY.sub(HIDDEN, _LOGIN.sub(HIDDEN, address)))


def models(kept: Kept) -> object:
    """What is on disk."""
    try:
        found = kept()
    except EdgechatError as error:
        return {"unreadable": str(error)}
    about = [msgspec.to_builtins(one, enc_hook=str) for one in found]
    for one in about:
        one["model"]["source"] = _plain(one["model"]["source"])
    return about


def remembered(lines: Iterable[EventDict]) -> str:
    """Log lines as text, one JSON object each."""
    return "".join(f"{json.dumps(_discreet(line), ensure_ascii=False, default=str)}\n" for line in lines)


def _discreet(line: EventDict) -> EventDict:
    kept = {name: value for name, value in line.items() if name not in QUOTING}
    return kept | ({"error": str(kept["error"]).partition(":")[0]} if "error" in kept else {})


def log_file_end(path: Path | None) -> str:
    """The end of a log file."""
    if path is None:
        return "No server answers, and the setting log_file is not set: the log is where standard error went.\n"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}.\n"
    return "".join(f"{_trimmed(line)}\n" for line in lines)


def _trimmed(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return json.dumps(_discreet(found), ensure_ascii=False)
    return _KIND.sub(lambda match: f" error={match['kind']}" if match["kind"] else "", line)
