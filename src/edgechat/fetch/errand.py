"""The server's side of the process that fetches pictures: one request's addresses, within its time."""

import asyncio
import subprocess
from collections.abc import Sequence

from edgechat.errors import InvalidMedia
from edgechat.fetch.letters import AnyAnswer, Bring, Brought, NotBrought, from_child
from edgechat.process.child import Child
from edgechat.process.spawn import spawn

MODULE = "edgechat.fetch.child"
AT_ONCE = 2  # processes; other requests wait
LONGEST_S = 20.0  # for all pictures of a request


class Fetcher:
    """Brings what lies at addresses of `hosts`."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = tuple(host.lower() for host in hosts)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def bring(self, urls: Sequence[str], most: int) -> list[bytes]:
        """What lies at each of `urls`, in order, `most` bytes at most. Raises InvalidMedia."""
        try:
            async with asyncio.timeout(LONGEST_S), self._places:
                child: Child[AnyAnswer] = await Child.of(spawn(MODULE, stderr=subprocess.DEVNULL), from_child)
                try:
                    child.post(Bring(tuple(urls), self.hosts, most))
                    return [await _next(child) for _ in urls]
                finally:
                    await child.end()
        except TimeoutError:
            raise InvalidMedia(
                f"the pictures did not come within {LONGEST_S:.0f} s: send them themselves, in base64."
            ) from None


async def _next(child: Child[AnyAnswer]) -> bytes:
    match await child.receive():
        case Brought(content=content):
            return content
        case NotBrought(why=why):
            raise InvalidMedia(why)
        case None:
            raise InvalidMedia("the process that fetches pictures ended: send the picture itself, in base64.")
