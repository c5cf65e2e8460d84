"""Prometheus metrics, what the server counts: GET /metrics.

Labels come from fixed sets only: status codes, and names of models that are on this disk. Nobody's text is in them.
"""

from collections import Counter as Counts
from collections.abc import Iterator

import psutil
from fastapi import Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgechat.api.routes import Facts, Need, Router
from edgechat.machine import memory_free
from edgechat.observe.logs import Sink
from edgechat.runtime import Runtime
from edgechat.types import Answered, Done, Ending, Failed

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
SENSORS = ("cpu_thermal", "coretemp", "k10temp", "acpitz")  # what drivers call the processor's own

router = Router()


class Metrics:
    """One server's counters."""

    def __init__(self, runtime: Runtime) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Machine(runtime))

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(name, what, registry=self.registry)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(name, what, labels, registry=self.registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
            return Histogram(name, what, buckets=buckets, registry=self.registry)

        under_way = runtime.answers.open.values
        running = gauge("requests_running", "Answers under way")
        running.set_function(lambda: sum(answer.spoke is not None for answer in under_way()))
        waiting = gauge("requests_waiting", "Answers asked for, without a first token yet")
        waiting.set_function(lambda: sum(answer.spoke is None for answer in under_way()))
        self.prompt = counter("prompt_tokens", "Prompt tokens of finished answers")
        self.generated = counter("generation_tokens", "Tokens of finished answers")
        self.hits = counter("prefix_cache_hits", "Prompts of which something did not have to be read again")
        self.cached = counter("prefix_cache_tokens", "Prompt tokens that did not have to be read again")
        self.failed = counter("answers_failed", "Answers that ended with an error", "code")
        self.refused = counter("answers_refused", "Answers refused by a limit or while shutting down", "code")
        self.first = histogram("time_to_first_token_seconds", "From the question to the first token")
        self.per_token = histogram("time_per_output_token_seconds", "Between tokens", TOKEN_SECONDS)
        self.queued = histogram("queue_seconds", "From the question to its first step")
        self.http = counter("http_requests", "HTTP requests by status", "code")
        self.answered: Counts[str] = Counts()  # the same by the status's first digit, for the dashboard
        self.kept = gauge(
            "kv_cache_usage_ratio", "Share of the tokens that engines can hold, taken by answers under way"
        )

    def over(self, ending: Ending | None) -> int:
        """Count an answer that ended like this; None: its client left. How many tokens it took."""
        match ending:
            case Done(usage=usage, timing=timing):
                self.prompt.inc(usage.prompt_tokens)
                self.generated.inc(usage.completion_tokens)
                self.cached.inc(usage.cached_tokens)
                self.hits.inc(bool(usage.cached_tokens))
                self.queued.observe(timing.queue_ms / 1000)
                if timing.decode_tok_s:
                    self.per_token.observe(1 / timing.decode_tok_s)
                return usage.total_tokens
            case Answered(tokens=tokens):
                self.prompt.inc(len(tokens))
                return len(tokens)
            case Failed(code=code):
                self.failed.labels(code).inc()
        return 0

    def answer(self, status: int) -> None:
        """Count an HTTP answer."""
        self.http.labels(str(status)).inc()
        self.answered[str(status)[0]] += 1

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Machine(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        loaded = GaugeMetricFamily("model_loaded", "Models in memory that answer", labels=["model"])
        for resident in self._runtime.keeper.pool.tenants:
            loaded.add_metric([resident.name], float(resident.ready))
        yield loaded
        yield CounterMetricFamily("log_lines_dropped", "Log lines that could not be written", float(Sink.dropped))
        free = float(memory_free())
        yield GaugeMetricFamily("system_memory_available_bytes", "Memory that is free for the asking", free)
        if (celsius := temperature()) is not None:
            yield GaugeMetricFamily("cpu_temperature_celsius", "The processor's temperature", celsius)


def temperature() -> float | None:
    """The processor's temperature, where a sensor tells it."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return next((sensors[name][0].current for name in SENSORS if sensors.get(name)), None)


class CountRequests:
    """ASGI middleware: `http_requests_total{code}`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answer(message["status"])
            await send(message)

        await self._app(scope, receive, counted)


@router.get("/metrics", Facts(Need.OPERATOR), "Counters for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    found: Metrics = request.app.state.metrics
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)
