"""A model at a plain address, with the SHA-256 that it must have. Runs in the child process only.

The hash is part of the reference, so the server need not be trusted; it may still be slow, cut the line, or lie about
what it sends. A part that is there is gone on with, if the server says by its ETag that the file is still the same.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from edgechat.errors import EdgechatError, HashMismatch, HubUnreachable, NotOnHub, UnsafeListing
from edgechat.hub.reference import Link, name_from, parse
from edgechat.hub.source import File, Manifest
from edgechat.process.disk import check_room

TRIES = 6
REDIRECTS = 5
LONGEST_PAUSE = 60.0  # seconds that a server may ask for
TIMEOUTS = httpx.Timeout(30.0, connect=5.0)  # a stall is 30 s without a byte


class Https:
    """One address."""

    def resolve(self, reference: Link) -> Manifest:
        """The hash is the reference's; the size the server's, where it tells one."""
        size = None
        with _translated(reference), _client() as client, _asked(client, "HEAD", reference.url, {}) as answer:
            if answer.status_code == 404:
                raise NotOnHub(f"{reference.url}: there is no such file.")
            if answer.is_success and (length := answer.headers.get("Content-Length", "")).isdigit():
                size = int(length) or None
        files = (File(reference.file, size, reference.sha256),)
        return Manifest(name_from(reference.file), str(reference), reference.sha256[:12], files)

    def fetch(self, manifest: Manifest, staging: Path) -> None:
        """Fetch the rest of the file, in a few tries."""
        reference = parse(manifest.source)
        assert isinstance(reference, Link)
        (file,) = manifest.files
        target = staging / file.path
        part, etag = target.with_name(f"{target.name}.incomplete"), target.with_name(f"{target.name}.etag")
        for attempt in range(TRIES):
            try:
                with _translated(reference):
                    _transfer(reference, file, part, etag)
                    break
            except HubUnreachable as error:
                if attempt == TRIES - 1:
                    raise
                time.sleep(getattr(error, "pause_s", None) or min(2.0**attempt, 8.0))
        etag.unlink(missing_ok=True)
        part.replace(target)


def _transfer(reference: Link, file: File, part: Path, etag: Path) -> None:
    """One try: append to `part` what is missing of it. Raises what keeps it from being whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have and etag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": etag.read_text()}
    if have and have == file.size:
        return
    with _client() as client, _asked(client, "GET", reference.url, headers) as answer:
        if answer.status_code == 416:
            part.unlink(missing_ok=True)
            raise HubUnreachable(f"{reference.url}: the server has other bytes by now; it is fetched anew.")
        _refuse(answer, reference)
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 206 and not goes_on:
            raise UnsafeListing(f"{reference.url}: the server sends another part than was asked for.")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else file.size
        if file.size is not None and total != file.size:
            raise HashMismatch(f"{reference.url}: the server sends {total} bytes, not {file.size}.")
        check_room(part.parent, (total or 0) - have)
        if strong := _strong(answer.headers.get("ETag", "")):
            etag.write_text(strong)
        else:
            etag.unlink(missing_ok=True)
        with part.open("ab" if goes_on else "wb") as out:
            for chunk in answer.iter_raw():  # as they come: a line that is cut costs no byte
                out.write(chunk)
                have += len(chunk)
                if total is not None and have > total:
                    raise HashMismatch(f"{reference.url}: the server sends more than the {total} bytes it said.")
    if total is not None and have < total:
        raise HubUnreachable(f"{reference.url}: the connection broke; pull again, it goes on where it stopped.")


@contextmanager
def _asked(client: httpx.Client, method: str, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The answer to `method`, after few redirects, none of which leaves https."""
    for _ in range(REDIRECTS + 1):
        with client.stream(method, url, headers=headers) as answer:
            if not answer.has_redirect_location:
                yield answer
                return
            following = urljoin(url, answer.headers["Location"])
        if urlsplit(following).scheme != "https" and urlsplit(url).scheme == "https":
            raise UnsafeListing(f"{url} points at {following[:200]!r}, which is not https. It was not asked.")
        url = following
    raise HubUnreachable(f"{url}: one redirect leads to the next; after {REDIRECTS} it was given up.")


def _refuse(answer: httpx.Response, reference: Link) -> None:
    """Raise what a status means that brings no bytes."""
    status = answer.status_code
    if status in (200, 206):
        return
    if status in (401, 403, 404, 410):
        raise NotOnHub(f"{reference.url}: the server answers {status}: the file is not there, or not for everyone.")
    error = HubUnreachable(f"{reference.url}: the server answers {status}; try again later.")
    wait = answer.headers.get("Retry-After", "")
    error.pause_s = min(float(wait), LONGEST_PAUSE) if wait.isdigit() else None
    raise error


def _strong(etag: str) -> str | None:
    """`etag` if it promises the same bytes, not only the same meaning."""
    return etag if etag.startswith('"') and etag.isascii() and len(etag) < 200 else None


def _client() -> httpx.Client:
    return httpx.Client(timeout=TIMEOUTS, follow_redirects=False, trust_env=True)


@contextmanager
def _translated(reference: Link) -> Iterator[None]:
    """httpx's errors become ours at this border."""
    try:
        yield
    except EdgechatError:
        raise
    except httpx.TimeoutException as error:
        raise HubUnreachable(f"{reference.url}: the server stopped answering; pull again, it goes on.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise HubUnreachable(f"{reference.url} cannot be fetched: {why}") from error
