"""A loaded model is asked without a file being opened on the event loop: a slow disk holds nobody up."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.hub.store import Store
from tests.api.conftest import serving
from tests.scripts import publish, tuned

KERNEL = "/proc/"  # no disk: the figures that are taken every second
HI = [{"role": "user", "content": "hi"}]
ASKED: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/chat/completions", {"messages": HI}),
    ("POST", "/v1/chat/completions", {"messages": HI, "stream": True}),
    ("POST", "/v1/completions", {"prompt": "hi", "n": 2, "stream": True}),
    ("POST", "/v1/responses", {"input": "hi", "stream": True}),
    ("POST", "/v1/messages", {"messages": HI, "stream": True}),
    ("POST", "/v1/messages/count_tokens", {"messages": HI}),
    ("POST", "/api/chat", {"messages": HI, "keep_alive": "5m"}),
    ("POST", "/tokenize", {"content": "hi"}),
    ("POST", "/api/runs", {"content": "hi"}),
    ("GET", "/v1/models", None),
    ("GET", "/readyz", None),
    ("GET", "/api/status", None),
]

_opened: list[tuple[int, str]] = []  # by thread
_counting = False


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _counting and event == "open":
        _opened.append((threading.get_ident(), str(arguments[0])))


@pytest.fixture(scope="module", autouse=True)
def _heard() -> None:
    sys.addaudithook(_hear)  # for good: Python takes none back


@pytest.fixture
def opened() -> Iterator[list[tuple[int, str]]]:
    """What is opened from now on."""
    global _counting
    _opened.clear()
    _counting = True
    yield _opened
    _counting = False


@pytest.mark.parametrize("is_tuned", [False, True], ids=["plain", "tuned"])
def test_no_file_is_opened_on_the_loop_for_a_loaded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[tuple[int, str]], is_tuned: bool
) -> None:
    monkeypatch.setattr("edgechat.models.library.TUNED_ENGINE", "fake")
    store = Store(tmp_path / "home")
    model = publish(store, "m")
    if is_tuned:
        tuned(store, model, publish(store, "m-fast"))
    before = {thread.ident for thread in threading.enumerate()}
    with serving(Path("m"), tmp_path / "home") as base, httpx.Client(base_url=base, timeout=20) as client:
        (loop,) = (one.ident for one in threading.enumerate() if one.ident not in before and "(run)" in one.name)
        found: dict[str, list[str]] = {}
        for method, path, body in [*ASKED, *ASKED]:
            opened.clear()
            answer = client.request(method, path, json=body)
            assert answer.status_code in (200, 201), answer.text
            if "/api/runs" in path:
                client.get(f"/api/runs/{answer.json()['run_id']}/events")
            found[f"{path} {body}"] = [
                file for thread, file in opened if thread == loop and not file.startswith(KERNEL)
            ]
    assert {asked: files for asked, files in found.items() if files} == {}
