"""Content parts (multimodal input): what every dialect calls parts, blocks or images is read here, and refused here.

text · input_text · output_text ────────────► text
image · image_url · input_image · images ───► picture  ┐
input_audio ────────────────────────────────► sound    ├─ 400 unsupported_media: no model here takes them
document · file · input_file ───────────────► document ┘
any other ──────────────────────────────────► 400: it cannot be read
"""

from collections.abc import Iterable
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BeforeValidator, Discriminator, WithJsonSchema
from pydantic_core import PydanticCustomError

from edgechat.errors import UnsupportedMedia
from edgechat.prompt.senses import refused
from edgechat.types import Kind, Part

KINDS: dict[Any, Kind] = {
    "image": "picture",
    "image_url": "picture",
    "input_image": "picture",
    "input_audio": "sound",
    "document": "document",
    "file": "document",
    "input_file": "document",
}


class Said(Protocol):
    """A part that is text, in any dialect's shape."""

    @property
    def text(self) -> str: ...


def content_of(said: str | Iterable[Said] | None) -> tuple[Part, ...]:
    """The content of a message; what is empty says nothing."""
    texts = [said] if isinstance(said, str) else [part.text for part in said or ()]
    return tuple(text for text in texts if text)


def type_of(part: Any) -> Any:
    """What a part calls itself, raw or validated."""
    return part.get("type") if isinstance(part, dict) else getattr(part, "type", None)


def refuse(what: str, *kinds: Kind) -> PydanticCustomError:
    """For a validator to raise over what no model takes."""
    return PydanticCustomError(UnsupportedMedia.code, "{why}", {"why": refused(what, *kinds)})


def taken(part: Any) -> Any:
    """Refuse a part that no model takes; for a before-validator."""
    kind = type_of(part)
    if isinstance(kind, str) and kind in KINDS:
        raise refuse(f"a part of type {kind!r}", KINDS[kind])
    return part


def of_types(content: Any, *types: str) -> Any:
    """Refuse a list with a part of another type; for a before-validator."""
    for part in content if isinstance(content, list) else ():
        kind = type_of(taken(part))
        if kind not in types:
            raise ValueError(f"a part of type {kind!r} cannot be read: the served model reads text only")
    return content


def as_blocks(content: Any) -> Any:
    """A plain string as the list of one text part that it stands for; for a before-validator."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def tag_of(block: Any) -> str:
    """Tag of a block in a union: never a name that a block's own field could have."""
    return f"{type_of(block)} block"


def none_of(what: str, *kinds: Kind) -> AfterValidator:
    """Refuses a list that is not empty."""

    def none(given: list[Any] | None) -> list[Any] | None:
        if given:
            raise refuse(what, *kinds)
        return given

    return AfterValidator(none)


Taken = BeforeValidator(taken)
Pictures = Annotated[  # beside a text
    list[Any] | None,
    none_of("pictures", "picture"),
    WithJsonSchema({"enum": [[], None], "description": "accepted at these values only"}),
]
BY_TYPE = Discriminator(
    tag_of,
    custom_error_type="unreadable",
    custom_error_message="a block of this type cannot be read here: the served model reads text only",
)
