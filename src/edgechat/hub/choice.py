"""File selection: which files of a repository make the model that is asked for. Pure; every hub's listing goes through
here.

one.gguf                                  it alone
m-00001-of-00003.gguf …                   all parts
vl.gguf + mmproj-vl-Q8_0.gguf             with the projector that lets it see, of several the Q8_0, else the F16
config.json, *.safetensors, tokenizer …   a snapshot: the top folder, and nothing in it that could be run
pytorch_model.bin                         where there are no safetensors: engines read only the numbers in it

A listing is a stranger's word: one bad row spoils it.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

import msgspec

from edgechat.errors import ConfigError, EdgechatError, NotOnHub, UnsafeListing
from edgechat.hub.reference import SUFFIX, Repo, is_safe_path, name_from
from edgechat.hub.source import File, Manifest

MAX_ROWS = 8000
PREFERRED = "q4_k_m"
PROJECTOR, PREFERRED_PROJECTORS = "mmproj", (re.compile(r"q8_0"), re.compile(r"(?<!b)f16"))
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_CONFIG = "config.json"
_SNAPSHOT = re.compile(
    r"config\.json|generation_config\.json|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|tokenizer\.json|tokenizer_config\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json"
    r"|vocab\.json|merges\.txt|chat_template\.(jinja|json)"
)
_PICKLED = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin|pytorch_model\.bin\.index\.json")


class Row(Protocol):
    """What a hub tells about one listed file. Everything in it comes from the hub."""

    path: str
    size: int
    sha256: str | None
    type: str


R = TypeVar("R", bound=Row)


def check(rows: Sequence[R], reference: str) -> list[R]:
    """The files of a listing. One bad row spoils it: such a hub is not fetched from.

    Raises NotOnHub for an empty listing (ModelScope's answer to an unknown revision), else UnsafeListing.
    """
    if not rows:
        raise NotOnHub(f"{reference}: the repository has no such revision, or no files.")
    if len(rows) > MAX_ROWS:
        raise UnsafeListing(f"{reference}: {len(rows)} files are listed; at most {MAX_ROWS} are read.")
    seen: set[str] = set()
    for row in rows:
        if not is_safe_path(row.path):
            raise UnsafeListing(f"{reference}: the hub lists {row.path!r}, which is no safe path. Nothing was fetched.")
        if row.path in seen:
            raise UnsafeListing(f"{reference}: the hub lists {row.path!r} twice. Nothing was fetched.")
        seen.add(row.path)
    return [row for row in rows if row.type != "tree"]


def choose(rows: Iterable[R], reference: Repo) -> tuple[R, ...]:
    """The rows of the model's files, the one to load first.

    Without a file in `reference`, the q4_k_m .gguf, else the only one, else the snapshot.
    """
    rows = list(rows)
    models = {row.path: row for row in rows if row.path.lower().endswith(SUFFIX)}
    if not models and reference.file is None and (snapshot := _snapshot(rows)):
        return snapshot
    wanted = reference.file or _usual(models, reference)
    if wanted not in models:
        raise NotOnHub(f"{reference}: there is no such file; {_listed(sorted(models))}")
    chosen = [*_parts(models, wanted, reference), *_projector(models, wanted)]
    for row in chosen:
        if row.size <= 0:
            raise UnsafeListing(f"{reference}: the hub lists {row.path} with {row.size} bytes.")
    return tuple(chosen)


def manifest_of(rows: Sequence[R], reference: Repo, revision: str, licence: str | None = None) -> Manifest:
    """The chosen `rows` as a manifest; what is no SHA-256 counts as none."""
    first = rows[0].path
    is_gguf, part = first.lower().endswith(SUFFIX), _PART.fullmatch(first)
    name = name_from((part[1] if part else first) if is_gguf else reference.name)
    source = msgspec.structs.replace(reference, file=first if is_gguf else None)
    hashes = [row.sha256.lower() if row.sha256 and _SHA256.fullmatch(row.sha256) else None for row in rows]
    files = tuple(File(row.path, row.size, sha256) for row, sha256 in zip(rows, hashes, strict=True))
    return Manifest(name, str(source), revision, files, licence)


def _usual(models: dict[str, R], reference: Repo) -> str:
    """The file that is meant where none is named."""
    whole = [path for path in models if not _is_projector(path) and _part_number(path) in (None, 1)]
    preferred = [path for path in whole if PREFERRED in path.lower()]
    candidates = preferred or whole
    if len(candidates) == 1:
        return candidates[0]
    raise _unclear(reference, sorted(whole))


def _parts(models: dict[str, R], wanted: str, reference: Repo) -> list[R]:
    """The rows of `wanted` and of the parts that go on with it."""
    found = _PART.fullmatch(wanted)
    if found is None:
        return [models[wanted]]
    stem, number, count = found[1], int(found[2]), int(found[3])
    if number != 1:
        raise ConfigError(f"{reference}: {wanted} is part {number} of {count}: name the first one.")
    paths = [f"{stem}-{i:05}-of-{count:05}{SUFFIX}" for i in range(1, min(count, MAX_ROWS) + 1)]
    gone = [path for path in paths if path not in models]
    if gone or not paths:
        raise NotOnHub(f"{reference}: {len(gone)} of its {count} parts are not listed, such as {[*gone, wanted][0]}.")
    return [models[path] for path in paths]


def _projector(models: dict[str, R], wanted: str) -> list[R]:
    """The projector beside `wanted`: the Q8_0, else the F16, else the smallest."""
    if _is_projector(wanted):
        return []
    folder = PurePosixPath(wanted).parent
    beside = [row for path, row in models.items() if _is_projector(path) and PurePosixPath(path).parent == folder]
    beside.sort(
        key=lambda row: (*(not kind.search(row.path.lower()) for kind in PREFERRED_PROJECTORS), row.size, row.path)
    )
    return beside[:1]


def _snapshot(rows: Sequence[R]) -> tuple[R, ...]:
    """What of a repository without a .gguf makes a model, or nothing."""
    chosen = [row for row in rows if _SNAPSHOT.fullmatch(row.path)]
    if not any(row.path.endswith(".safetensors") for row in chosen):
        weights = [row for row in rows if _PICKLED.fullmatch(row.path)]
        chosen = [*chosen, *weights] if weights else []
    if not any(row.path == _CONFIG for row in chosen):
        return ()
    return tuple(sorted(chosen, key=lambda row: (row.path != _CONFIG, row.path)))


def _is_projector(path: str) -> bool:
    return PROJECTOR in PurePosixPath(path).name.lower()


def _part_number(path: str) -> int | None:
    found = _PART.fullmatch(path)
    return int(found[2]) if found else None


def _unclear(reference: Repo, models: list[str]) -> EdgechatError:
    if not models:
        return NotOnHub(f"{reference}: the repository has no {SUFFIX} file, and no snapshot in safetensors.")
    return ConfigError(f"{reference}: say which file, as in {reference}:{models[0]}; {_listed(models)}")


def _listed(models: list[str], most: int = 12) -> str:
    more = f" and {len(models) - most} more" if len(models) > most else ""
    return f"there is: {', '.join(models[:most])}{more}." if models else f"the repository has no {SUFFIX} file."
