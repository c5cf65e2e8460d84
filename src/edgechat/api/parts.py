"""Content parts (multimodal input): what every dialect calls parts, blocks or images is read here, and refused here.

text · input_text · output_text ────────────► text
image · image_url · input_image · images ───► picture    an Attachment; its bytes beside it: media_of
input_audio ────────────────────────────────► sound    ┐
document · file · input_file ───────────────► document ┴─ 400 unsupported_media: no model here takes them
any other ──────────────────────────────────► 400: it cannot be read

Whether a model takes pictures is found where it is asked (models/handle.py).
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from edgechat.api.addresses import is_address
from edgechat.errors import InvalidMedia, UnsupportedMedia
from edgechat.media import inline
from edgechat.media.inline import Sent
from edgechat.prompt.senses import refused
from edgechat.prompt.sight import MOST, SHARPEST
from edgechat.types import Kind, Part

# What is known, and taken by no model.
KINDS: dict[Any, Kind] = {
    "input_audio": "sound",
    "document": "document",
    "file": "document",
    "input_file": "document",
}
# Tokens that a picture may take at most, by OpenAI's words; "auto" is the usual number.
DETAILS = {"low": 128, "high": SHARPEST, "original": SHARPEST}


class Said(Protocol):
    """A part that is text, in any dialect's shape."""

    @property
    def text(self) -> str: ...


class Shown(Protocol):
    """A part that is a picture, in any dialect's shape."""

    @property
    def picture(self) -> Sent: ...


def content_of(said: str | Iterable[Said | Shown] | None, shown: Iterable[Sent] = ()) -> tuple[Part, ...]:
    """The content of a message, after the pictures that are `shown` beside it; what is empty says nothing."""
    before = [picture.attachment for picture in shown]
    parts = [said] if isinstance(said, str) else [_part(part) for part in said or ()]
    return tuple(part for part in (*before, *parts) if part)


def _part(part: Said | Shown) -> Part:
    picture: Sent | None = getattr(part, "picture", None)
    return getattr(part, "text", "") if picture is None else picture.attachment


def media_of(*values: Any) -> dict[str, bytes]:
    """The bytes of every picture in validated bodies, by their SHA-256."""
    return {sent.attachment.sha256: sent.content for value in values for sent in _sent(value)}


def picture_tokens_of(*values: Any) -> dict[str, int]:
    """How many tokens pictures in validated bodies may take, by SHA-256, where that is not the usual number."""
    most: dict[str, int] = {}
    for sent in (sent for value in values for sent in _sent(value)):
        most[sent.attachment.sha256] = max(most.get(sent.attachment.sha256, 0), sent.tokens or MOST)
    return {sha256: tokens for sha256, tokens in most.items() if tokens != MOST}


def is_told(detail: str | None) -> bool:
    """Whether a `detail` is one that has an effect, or asks for none."""
    return detail is None or detail == "auto" or detail in DETAILS


def looked_at(picture: Sent, detail: str | None) -> Sent:
    """`picture`, as closely as OpenAI's `detail` says."""
    return picture._replace(tokens=DETAILS.get(detail or ""))


def _sent(value: Any) -> Iterator[Sent]:
    shown = getattr(value, "picture", value)
    if isinstance(shown, Sent):
        yield shown
        return
    for inner in vars(value).values() if isinstance(value, BaseModel) else value or ():
        if isinstance(inner, BaseModel | list | tuple):
            yield from _sent(inner)


def type_of(part: Any) -> str | None:
    """What a part calls itself, raw or validated; None where that is no name."""
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return kind if isinstance(kind, str) else None


def refuse(what: str, *kinds: Kind) -> PydanticCustomError:
    """For a validator to raise over what no model takes."""
    return PydanticCustomError(UnsupportedMedia.code, "{why}", {"why": refused(what, *kinds)})


def taken(part: Any) -> Any:
    """Refuse a part that no model takes; for a before-validator."""
    kind = type_of(part)
    if kind in KINDS:
        raise refuse(f"a part of type {kind!r}", KINDS[kind])
    return part


def of_types(content: Any, *types: str) -> Any:
    """Refuse a list with a part of another type; for a before-validator."""
    for part in content if isinstance(content, list) else ():
        kind = type_of(taken(part))
        if kind is None:
            raise ValueError("a part of a message is an object with a type")
        if kind not in types:
            raise ValueError(f"a part of type {kind!r} cannot be read here")
    return content


def as_blocks(content: Any) -> Any:
    """A plain string as the list of one text part that it stands for; for a before-validator."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def tag_of(block: Any) -> str:
    """Tag of a block in a union: never a name that a block's own field could have."""
    return f"{type_of(block)} block"


def _picture(text: Any) -> Sent:
    if isinstance(text, Sent):
        return text
    if not isinstance(text, str):
        raise ValueError("a picture is a string: base64, or a data: URL")
    if is_address(text):
        raise PydanticCustomError(InvalidMedia.code, "no address is asked here: send the picture itself, in base64")
    try:
        return inline.picture(text)
    except ValueError as error:
        raise PydanticCustomError(InvalidMedia.code, "{why}", {"why": str(error)}) from None


Taken = BeforeValidator(taken)
Picture = Annotated[Sent, PlainValidator(_picture), WithJsonSchema({"type": "string", "description": "base64"})]
PictureUrl = Annotated[
    Sent, PlainValidator(_picture), WithJsonSchema({"type": "string", "description": "data:image/png;base64,…"})
]
UNREADABLE = "a block of this type cannot be read here"
Detail = Annotated[str, Field(max_length=64)]
BY_TYPE = Discriminator(tag_of, custom_error_type="unreadable", custom_error_message=UNREADABLE)
