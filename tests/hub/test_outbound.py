"""A hub cannot send this machine to where only this machine can go."""

import socket
import subprocess
import sys

import pytest

from edgechat.errors import HubUnreachable, UnsafeListing
from edgechat.hub.outbound import check, check_proxies, is_public, places, proxies


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "fc00::1",
        "2002:7f00:1::", "ff02::1", "a name", "",
        # What leads home by a translator: NAT64, its local prefix, 6to4, Teredo, IPv4-compatible, SIIT; site-local.
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1", "64:ff9b::224.0.0.1", "64:ff9b:1::10.0.0.1",
        "64:ff9b:1::808:808", "2002:a00:1::1", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "fec0::1", "100::1", "5f00::1",
    ],
)  # fmt: skip
def test_home_is_not_public(host: str) -> None:
    assert not is_public(host)
    with pytest.raises(UnsafeListing, match="not on the public network"):
        check((host, 80), set())


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "47.92.1.1", "2400:3200::1", "198.18.0.7", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"],
)
def test_public_addresses_and_a_local_proxys_stand_ins_are_asked(host: str) -> None:
    check((host, 443), set())


def test_the_hub_that_was_set_is_asked_wherever_it_stands_and_no_other_port_of_it() -> None:
    allowed = places("http://127.0.0.1:8123/x")
    assert allowed == {("127.0.0.1", 8123)}
    check(("127.0.0.1", 8123), allowed)
    with pytest.raises(UnsafeListing):
        check(("127.0.0.1", 22), allowed)


def test_a_name_that_is_none_allows_nothing() -> None:
    assert places("https://no.such.host.invalid/") == places("http://host:port/") == set()


def test_proxies_are_where_the_environment_says() -> None:
    environ = {"HTTPS_PROXY": "http://10.0.0.1:3128", "no_proxy": "x", "all_proxy": "10.0.0.2:1080", "OTHER": "y"}
    assert proxies(environ) == ["http://10.0.0.1:3128", "10.0.0.2:1080"]


def test_the_guard_stands_below_every_library() -> None:
    """In a process of its own: a guard cannot be taken away."""
    code = (
        "import sys, socket, urllib.request\n"
        "from edgechat.errors import HubUnreachable, UnsafeListing\n"
        "from edgechat.hub.outbound import guard\n"
        "guard([f'http://127.0.0.1:{sys.argv[1]}'])\n"
        "socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()\n"
        "try:\n"
        "    urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[2]}/', timeout=5)\n"
        "except UnsafeListing:\n"
        "    print('refused')\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as canary:
        ports = [str(server.getsockname()[1]) for server in (hub, canary)]
        done = subprocess.run([sys.executable, "-c", code, *ports], capture_output=True, text=True, check=True)
        assert done.stdout == "refused\n"
        canary.settimeout(0)
        with pytest.raises(BlockingIOError):
            canary.accept()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7891/"),
        ("all_proxy", "socks5://127.0.0.1:7891"),
        ("HTTPS_PROXY", "http://[::1"),
        ("https_proxy", "http://"),
        ("HTTP_PROXY", "http://host:port"),
        ("ALL_PROXY", "ftp://127.0.0.1:21"),
    ],
)
def test_a_proxy_that_cannot_be_asked_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr("edgechat.hub.outbound.find_spec", lambda module: None)
    with pytest.raises(HubUnreachable, match=name) as refused:
        check_proxies({"PATH": "/bin", name: value})
    assert "\n" not in str(refused.value)


def test_proxies_that_can_be_asked_are_left_alone() -> None:
    check_proxies({"HTTPS_PROXY": "127.0.0.1:7891", "http_proxy": "http://[::1]:3128", "ALL_PROXY": ""})
    check_proxies({"NO_PROXY": "localhost,::1,[::1]", "no_proxy": "*"})
