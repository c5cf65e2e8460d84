"""A connectivity check: whether a hub can be reached at all, asked before any library is: in seconds, and with the
reason.
"""

import asyncio
import errno
import socket
import threading
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from edgechat.errors import HubUnreachable

MAX_ADDRESSES = 8
_PORTS = {"http": 80, "https": 443}
_REASONS = {
    errno.ECONNREFUSED: "it refuses the connection",
    errno.ENETUNREACH: "there is no route to it",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ETIMEDOUT: "it does not answer",
    errno.EACCES: "a firewall on this machine forbids it",
    errno.EPERM: "a firewall on this machine forbids it",
}

Address = tuple[int, Any]  # family, address as sockets take it


async def reachable(url: str, timeout: float = 3.0) -> None:  # noqa: ASYNC109  (part of the message)
    """Connect to the host of `url` by TCP, or to the proxy that stands before it, and hang up.

    Raises HubUnreachable, which says which host and why, within `timeout` seconds.
    """
    target = _proxy_for(url) or url
    parts = urlsplit(target)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
    what = f"{host}:{port}" if target == url else f"the proxy {host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            await _connect(await _look_up(host, port))
    except TimeoutError:
        raise _unreachable(what, f"it does not answer within {timeout:g} s") from None
    except socket.gaierror:
        raise _unreachable(what, "its name cannot be resolved (DNS)") from None
    except OSError as error:
        raise _unreachable(what, _REASONS.get(error.errno or 0, error.strerror or str(error))) from None


def _unreachable(what: str, why: str) -> HubUnreachable:
    return HubUnreachable(f"{what} cannot be reached: {why}. Check the network and the proxy settings.")


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment sets for `url`, unless NO_PROXY exempts its host."""
    parts = urlsplit(url)
    proxies = getproxies_environment()
    if not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


async def _look_up(host: str, port: int) -> list[Address]:
    """The host's addresses. The resolver cannot be interrupted, so it runs in a thread that nobody waits for."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(addresses: list[Address] | None, error: OSError | None) -> None:
        if not found.done():
            if addresses is None:
                found.set_exception(error or OSError("no address"))
            else:
                found.set_result(addresses)

    def ask() -> None:
        addresses, trouble = None, None
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [(int(family), address) for family, _, _, _, address in rows][:MAX_ADDRESSES]
        except OSError as error:
            trouble = error
        except UnicodeError:
            trouble = socket.gaierror("no name")
        try:
            loop.call_soon_threadsafe(tell, addresses, trouble)
        except RuntimeError:
            pass  # the loop is closed: nobody asks any more

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return await found


async def _connect(addresses: list[Address]) -> None:
    """Connect to whichever address answers first, or raise the first one's trouble."""
    tries = [asyncio.create_task(_connect_one(*address)) for address in addresses]
    try:
        troubles = []
        for attempt in asyncio.as_completed(tries):
            try:
                return await attempt
            except OSError as error:
                troubles.append(error)
        raise min(troubles, key=lambda error: error.errno != errno.ECONNREFUSED, default=OSError("no address"))
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _connect_one(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
