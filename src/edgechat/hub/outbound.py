"""Protection against server-side request forgery: where a download may connect to, the hub that was set, and the public
network. Not what a hub may point at at home.

A hub answers with redirects, and whoever controls it could send this machine to the router's page, to a cloud's
metadata address, to a service on loopback. The rule stands below every library: Python tells of each connection before
it is made.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from edgechat.errors import HubUnreachable, UnsafeListing

PROXIES = {"http", "https", "socks5", "socks5h"}  # schemes that the hubs' own libraries speak
PORTS = {"http": 80, "https": 443}
# Not public, but nobody's home either: proxies on the user's own machine answer names with addresses of this net.
_STAND_IN = ipaddress.ip_network("198.18.0.0/15")
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given to networks; what translators keep lies outside
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: a network without IPv4 reaches it so

Place = tuple[str, int]  # address, port


def guard(urls: Iterable[str]) -> None:
    """From now on, this process connects to public addresses and to the hosts of `urls` only. Cannot be undone.

    Any other connection raises UnsafeListing, before a packet leaves.
    """
    allowed = {place for url in urls for place in places(url)}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
            check(arguments[1], allowed)

    sys.addaudithook(hook)


def check(address: tuple[Any, ...], allowed: set[Place]) -> None:
    """Raise UnsafeListing unless `address`, as sockets take it, is public or one of `allowed`."""
    host, port = str(address[0]), int(address[1])
    if (host, port) not in allowed and not is_public(host):
        raise UnsafeListing(f"the hub points at {host}:{port}, which is not on the public network. It was not asked.")


def is_public(host: str) -> bool:
    """Whether `host`, an address, is one of the public network. One with an IPv4 address in it is what that one is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            within = ipaddress.IPv4Address(address.packed[-4:])
        if within is None:
            return address in _UNICAST and address.is_global
        address = within
    return address in _STAND_IN or (address.is_global and not address.is_multicast)


def places(url: str) -> set[Place]:
    """Every address and port that the host of `url` has now; none where it has no name here."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or PORTS.get(parts.scheme, 80)
        rows = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError, UnicodeError):
        return set()
    return {(str(row[4][0]), port) for row in rows}


def check_proxies(environ: Mapping[str, str]) -> None:
    """Raise HubUnreachable, naming the variable, for a proxy that no library here could be told of."""
    for name, value in environ.items():
        if not name.lower().endswith("_proxy") or name.lower() == "no_proxy" or not value:
            continue
        scheme = _scheme(value)
        if scheme not in PROXIES:
            raise HubUnreachable(
                f"the variable {name} names no proxy that can be asked ({value[:100]!r}): write it as "
                "http://host:port or socks5://host:port, or unset it."
            )
        if scheme.startswith("socks") and find_spec("socksio") is None:
            raise HubUnreachable(
                f"the variable {name} names a SOCKS proxy, which needs `pip install 'httpx[socks]' pysocks`; or set an "
                "http:// proxy."
            )


def _scheme(proxy: str) -> str:
    """How a proxy is spoken to; "" for what is no address."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return parts.scheme if parts.hostname and parts.port != 0 else ""
    except ValueError:
        return ""


def proxies(environ: Mapping[str, str]) -> list[str]:
    """The proxies that the environment sets: they are asked first, whatever they then connect to."""
    return [value for name, value in environ.items() if name.lower().endswith("_proxy") and name.lower() != "no_proxy"]
