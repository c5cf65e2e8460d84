"""The process that fetches pictures (protection against server-side request forgery): listed hosts, public addresses.

    address ─► a listed host? ─► GET ─► redirect? ─► a listed host? ─► … ─► so many bytes ─► Brought
                                  └── hub/outbound.py: no connection but to a public address

Names are looked up once, by whoever connects: between the look and the connection nothing can be changed (DNS
rebinding). No proxy, cookie or password of this machine goes along: the process has none.
"""

from collections.abc import Iterable, Sequence
from queue import SimpleQueue
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx

from edgechat.errors import InvalidMedia, UnsafeListing
from edgechat.fetch.letters import Bring, Brought, NotBrought, to_child
from edgechat.hub import outbound
from edgechat.process.parent import Parent

REDIRECTS = 3
TIMEOUTS = httpx.Timeout(10.0, connect=5.0)  # without a byte; the parent counts the whole
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "edgechat"}


def main(allowed: Iterable[str] = ()) -> None:
    """Carry out one order. `allowed` addresses may be asked though they are not public: a test's own servers."""
    parent, inbox = Parent(to_child), SimpleQueue[Bring]()
    parent.listen(inbox.put)
    order = inbox.get()
    outbound.guard(allowed)
    try:
        with httpx.Client(trust_env=False, follow_redirects=False, timeout=TIMEOUTS, headers=HEADERS) as client:
            for url in order.urls:
                parent.send(Brought(_brought(client, url, order)))
    except InvalidMedia as error:
        parent.send(NotBrought(str(error)))


def _brought(client: httpx.Client, url: str, order: Bring) -> bytes:
    """The bytes at `url`, after few redirects. Raises InvalidMedia, which names the host."""
    first, host = None, ""
    for _ in range(REDIRECTS + 1):
        host = _asked_for(url, order.hosts, first)
        first = first or urlsplit(url).scheme
        try:
            with client.stream("GET", url) as answer:
                if not answer.has_redirect_location:
                    return _content(answer, host, order.most)
                url = urljoin(url, answer.headers["Location"])
        except UnsafeListing:
            raise InvalidMedia(f"{host} is not on the public network: it was not asked for the picture.") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise InvalidMedia(f"{host} does not send the picture ({type(error).__name__}): send it itself.") from None
    raise InvalidMedia(f"one redirect of {host} leads to the next: send the picture itself.")


def _asked_for(url: str, hosts: Sequence[str], first: str | None) -> str:
    """The host of an address that may be asked. Raises InvalidMedia."""
    try:
        parts = urlsplit(url)
        is_listed = host_of(parts) in hosts
    except ValueError:
        raise InvalidMedia("this is the address of no picture: send the picture itself, in base64.") from None
    if not is_listed or parts.scheme not in ("http", "https") or parts.username is not None:
        raise InvalidMedia(f"pictures are not fetched from {host_of(parts)[:200]}: send the picture itself, in base64.")
    if first == "https" != parts.scheme:
        raise InvalidMedia(f"a redirect leads to {host_of(parts)[:200]} without https: it was not asked.")
    return host_of(parts)


def host_of(parts: SplitResult) -> str:
    """The host as it is listed: with its port, where that is not the usual one. Raises ValueError."""
    usual = outbound.PORTS.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    return f"{parts.hostname or ''}{port}"


def _content(answer: httpx.Response, host: str, most: int) -> bytes:
    if answer.status_code != 200:
        raise InvalidMedia(f"{host} answers {answer.status_code} where the picture should be.")
    content = bytearray()
    for piece in answer.iter_raw():
        content += piece
        if len(content) > most:
            raise InvalidMedia(f"{host} sends more than the {most} bytes that pictures may have.")
    return bytes(content)


if __name__ == "__main__":
    main()
