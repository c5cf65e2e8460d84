"""A trace of each answer: the figures that GenAI conventions name, the caller's trace, nobody's words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgechat.api.app import create_app
from edgechat.errors import ConfigError
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from tests.api.conftest import serving
from tests.collector import Collector, collecting

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="OpenTelemetry is not installed: pip install 'edgechat[otel]'",
)

CANARY = "the heron stands in the reeds"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def spans(collector: Collector) -> list[Any]:
    """All spans that came, oldest first."""
    found = []
    for body in collector.wait():
        message = trace_service.ExportTraceServiceRequest.FromString(body)
        found += [span for part in message.resource_spans for scope in part.scope_spans for span in scope.spans]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_each_answer_is_a_span_in_its_callers_trace(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "fake.json").write_text("{}")
    body = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 7, "temperature": 0, "user": CANARY}
    more: dict[str, Any] = {"otel_endpoint": f"http://{collector.address}/"}
    with serving(tmp_path / "fake.json", tmp_path / "home", **more) as base:
        caller = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        said = httpx.post(f"{base}/v1/chat/completions", json=body, headers=caller, timeout=20).json()
        refused = httpx.post(
            f"{base}/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": "x " * 9000}]}
        )
        assert refused.status_code == 400
    answered, failed = spans(collector)
    assert collector.bodies[0][0] == "/v1/traces"
    assert answered.name == "chat fake.json"
    assert (answered.trace_id.hex(), answered.parent_span_id.hex()) == (TRACE, PARENT)
    told = attributes(answered)
    assert told["gen_ai.usage.input_tokens"] == said["usage"]["prompt_tokens"]
    assert told["gen_ai.usage.output_tokens"] == said["usage"]["completion_tokens"] == 7
    assert (told["gen_ai.request.max_tokens"], told["gen_ai.request.temperature"]) == (7, 0)
    assert [one.string_value for one in told["gen_ai.response.finish_reasons"].values] == ["length"]
    assert [event.name for event in answered.events] == ["first token"]
    assert failed.parent_span_id == b""
    assert attributes(failed)["error.type"] == "context_length_exceeded"
    assert CANARY.encode() not in b"".join(collector.wait())


def test_a_collector_that_is_away_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text("{}")
    with serving(tmp_path / "fake.json", tmp_path / "home", otel_endpoint="http://127.0.0.1:9") as base:
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
        assert httpx.post(f"{base}/v1/chat/completions", json=body, timeout=20).status_code == 200


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise ImportError

    monkeypatch.setattr("edgechat.registry.import_module", gone)
    with pytest.raises(ConfigError, match=r"pip install '\.\[otel\]'"):
        create_app(Runtime(Settings(engine="fake", model="x", home=tmp_path, otel_endpoint="http://127.0.0.1:9")))
