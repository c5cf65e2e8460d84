"""Static files, the pages: read once, compressed once, served from memory.

`/` answers index.html and `/dashboard` dashboard.html, which are asked for again every time; everything they need lies
under `/ui/<version>/`, where the version is a hash of all files, so a browser may keep those for ever. The files refer
to each other relatively. Three things are changed on the way: in the two pages `"./` becomes `"./ui/<version>/`; a
style sheet gets what it imports, so that a phone asks once; and from our own modules the comments are left out, a fifth
of what it would load; every line keeps its number.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edgechat.api.routes import Facts, Need, Router

WEB = Path(__file__).parents[2] / "web"

# Not the system's table: on some machines it calls JavaScript text/plain.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types dompurify"
)
_COMMENT = re.compile(r"^[ \t]*(?://[^\n]*|/\*\*.*?\*/)$", re.MULTILINE | re.DOTALL)  # with its lines to itself
_IMPORT = re.compile(rb'^@import "\./([^"]+)";$', re.MULTILINE)
_EVERY_FILE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_INDEX = _EVERY_FILE | {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), payment=(), usb=(), microphone=(self)",
}
_ASSET = _EVERY_FILE | {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page, in both forms it is sent in. `digest` is the SHA-256 of the plain one, in hex."""

    media_type: str
    plain: bytes
    packed: bytes
    digest: str

    @classmethod
    def of(cls, plain: bytes, media_type: str) -> "File":
        """Compress `plain`; the same bytes always give the same file."""
        return cls(media_type, plain, gzip.compress(plain, 9, mtime=0), hashlib.sha256(plain).hexdigest())

    def answer(self, request: Request, headers: dict[str, str]) -> Response:
        """The form that the client takes, or 304 when it has that one already."""
        packed = _accepts_gzip(request.headers.get("accept-encoding", ""))
        # Two forms, two strong tags.
        headers = headers | {"ETag": f'"{self.digest[:32]}{"-gzip" if packed else ""}"'}
        if _matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if packed:
            headers = headers | {"Content-Encoding": "gzip"}
        return Response(self.packed if packed else self.plain, headers=headers, media_type=self.media_type)


@dataclass(frozen=True, slots=True)
class Page:
    """All files, by their path below web/ with forward slashes; the two pages have their addresses filled in."""

    version: str
    index: File
    dashboard: File
    files: dict[str, File]

    @classmethod
    def read(cls, folder: Path = WEB) -> "Page":
        """Read every file whose type is known."""
        files = {
            path.relative_to(folder).as_posix(): File.of(_sent(path, folder), MEDIA_TYPES[path.suffix])
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in MEDIA_TYPES
        }
        version = _version(files.items())
        index, dashboard = (
            File.of(_addressed(page.plain, version), page.media_type)
            for page in (files.pop("index.html"), files.pop("dashboard.html"))
        )
        return cls(version, index, dashboard, files)


def mount_page(app: FastAPI) -> None:
    """Serve the pages, and their files under `/ui/<version>/`. The files are read here, once."""
    page = Page.read()
    router = Router()

    @router.page("/", Facts(Need.PUBLIC))
    async def index(request: Request) -> Response:
        return page.index.answer(request, _INDEX)

    @router.page("/dashboard", Facts(Need.PUBLIC))  # the frame; what it shows comes from /api/dash
    async def dashboard(request: Request) -> Response:
        return page.dashboard.answer(request, _INDEX)

    @router.page("/ui/{version}/{path:path}", Facts(Need.PUBLIC))
    async def asset(request: Request) -> Response:
        file = page.files.get(request.path_params["path"])
        if file is None or request.path_params["version"] != page.version:
            raise HTTPException(404)
        return file.answer(request, _ASSET)

    app.include_router(router.api)


def _sent(path: Path, folder: Path) -> bytes:
    """The file as it goes out: style sheets whole, our own modules without their comments, anything else as it is."""
    plain = path.read_bytes()
    if path.suffix == ".css":
        return _IMPORT.sub(lambda piece: (path.parent / piece[1].decode()).read_bytes().rstrip(b"\n"), plain)
    if path.suffix == ".js" and path.parent == folder / "js":
        return _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), plain.decode()).encode()
    return plain


def _version(files: Iterable[tuple[str, File]]) -> str:
    """A name for exactly these files."""
    lines = "".join(f"{file.digest} {path}\n" for path, file in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def _addressed(html: bytes, version: str) -> bytes:
    """`html` with its relative addresses led into the version's folder."""
    return html.replace(b'="./', f'="./ui/{version}/'.encode())


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named (or `*`) and not with a quality of 0."""
    accepted = {}
    for item in accept_encoding.lower().split(","):
        coding, _, params = item.partition(";")
        quality = params.replace(" ", "").removeprefix("q=")
        accepted[coding.strip()] = quality.rstrip("0") not in ("0.", "") if quality else True
    return accepted.get("gzip", accepted.get("*", False))


def _matches(if_none_match: str, etag: str) -> bool:
    """Whether the client's list of tags has this one. A proxy may have made ours weak."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
