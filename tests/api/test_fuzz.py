"""Whatever is sent, the answer is never a 5xx. What it costs: tests/e2e/test_hostile.py."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.api.conftest import serving

TORTURE = "EDGECHAT_TORTURE" in os.environ
BODIES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/tokenize", "/chat")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "fake.json").write_text('{"reply": "ok"}')
    with serving(folder / "fake.json", folder / "home") as address:
        yield address


@pytest.fixture(scope="module")
def described(base: str) -> Any:
    found = schemathesis.openapi.from_url(f"{base}/openapi.json")
    return found.exclude(path="/api/dash/events").exclude(path="/api/dash/state")  # one is endless, one ends the server


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_nothing_that_the_schema_describes_or_forbids_is_a_5xx(described: Any, mode: Any) -> None:
    seen = 0
    for found in described.get_all_operations():
        operation = found.ok()

        def answered(case: Any) -> None:
            answer = case.call(timeout=30)
            assert answer.status_code < 500, answer.text

        try:
            probe: Any = given(operation.as_strategy(generation_mode=mode))
            bounded(probe(answered))()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # a route without parameters forbids nothing
            continue
        seen += 1
    assert seen > 15


bounded = settings(
    max_examples=300 if TORTURE else 4,
    derandomize=not TORTURE,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


HOSTILE = {
    "NaN": b'{"messages": NaN, "input": NaN}',
    "infinity": b'{"temperature": 1e400}',
    "surrogate": b'{"input": "\\ud800", "content": "\\udfff"}',
    "not UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": "x"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"input": "x"}',
    "twice": b'{"input": "x", "input": "y", "content": "a", "content": "b"}',
    "twice inside": b'{"messages": [{"role": "user", "role": "system", "content": "x"}]}',
    "deep arrays": b"[" * 10_000 + b"]" * 10_000,
    "deep objects": b'{"input":' * 10_000 + b"1" + b"}" * 10_000,
    "deep schema": b'{"metadata":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b', "nonsense": 1}',
    "a million lists": b'{"metadata":[' + b"[]," * 1_000_000 + b"[]]}",
    "a million strings": b'{"metadata":[' + b'"",' * 1_000_000 + b'""]}',
    "a million names": b"{" + b",".join(b'"%x":0' % name for name in range(400_000)) + b"}",
    "digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "2^70": b'{"seed": %d, "options": {"seed": %d}}' % (2**70, 2**70),
    "a string": b'"x"',
    "null": b"null",
    "nothing": b"",
    "NUL": b'{"\x00": 1}',
    "half": b'{"input": "x"',
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_a_400_in_the_dialects_shape(base: str, path: str, raw: bytes) -> None:
    answer = httpx.post(base + path, content=raw, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert "\n" not in answer.text


def test_a_nul_is_text_like_any_other(base: str) -> None:
    told = httpx.post(f"{base}/tokenize", json={"content": "a\x00b"}).json()
    assert told["tokens"] == [97, 0, 98]
    run = httpx.post(f"{base}/api/runs", json={"content": "before\x00after"}).json()
    kept = httpx.get(f"{base}/api/conversations/{run['conversation_id']}").json()
    assert kept["messages"][0]["content"] == "before\x00after"
