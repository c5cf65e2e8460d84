"""Pictures of other programs' messages: where each export keeps them, or says where they were.

    ChatGPT        a part with an asset_pointer; the archive has a file whose name begins so
    llama.cpp      extra: base64Url                Open WebUI     files: url, a data: URL in older ones
    OpenAI-style   image_url, input_image: a data: URL; Anthropic's source
    Claude, LibreChat, newer Open WebUI            the name alone: the export has no bytes, and that is told

Pure: whoever reads a file knows how to get what lies beside it (intake.py, cli/history.py).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from edgechat.history.records import Held

PICTURES = ("image", "image_url", "input_image", "image_asset_pointer", "image_file")

Keep = Callable[[str, str], Held | None]  # a picture by where it is, and its name; None where it is not there


def nothing(_where: str, _name: str) -> None:
    """Where there is nothing but the document."""


class Beside:
    """What stands beside the text of messages: the pictures that are kept, and a count of what is `lost`."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self.lost: Counter[str] = Counter()

    def pictures(self, message: dict[str, Any], role: str | None) -> tuple[Held, ...]:
        """Those of a user's message; a model shows nothing that could be asked about again."""
        held: dict[str, Held] = {}
        for where, name in _shown(message):
            found = self._keep(where, name) if where and role == "user" else None
            if found is None:
                self.lost["pictures"] += 1
            else:
                held.setdefault(found.sha256, found)
        return tuple(held.values())


def is_picture(one: Any) -> bool:
    """Whether an entry of a list of files says that it is one."""
    kinds = (one.get("type"), one.get("file_kind"), one.get("content_type")) if isinstance(one, dict) else ()
    return any(isinstance(kind, str) and kind.startswith("image") for kind in kinds)


def _shown(message: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(where it is, name) of every picture; "" for what is not told."""
    about = message.get("metadata")
    listed = about.get("attachments") if isinstance(about, dict) else None
    names = {one.get("id"): one.get("name") for one in _dicts(listed) if isinstance(one.get("id"), str)}
    content = message.get("content")
    for part in _dicts(content.get("parts") if isinstance(content, dict) else content):
        if (part.get("type") or part.get("content_type")) in PICTURES:
            where = _where(part)
            yield where, _text(names.get(asset_of(where)))
    for field in ("attachments", "files", "extra"):
        for one in filter(is_picture, _dicts(message.get(field))):
            name = next(filter(None, (_text(one.get(key)) for key in ("file_name", "filename", "name"))), "")
            yield _text(one.get("base64Url")) or _text(one.get("url")), name


def _where(part: dict[str, Any]) -> str:
    match part:
        case {"asset_pointer": str(where)} | {"image_url": str(where)} | {"image_url": {"url": str(where)}}:
            return where
        case {"source": {"data": str(where)}} | {"source": {"url": str(where)}}:
            return where
    return ""


def asset_of(where: str) -> str:
    """The id in an address of ChatGPT's: file-service://file-Ab3."""
    return where.rpartition("://")[2] if where.startswith(("file-service://", "sediment://")) else ""


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
