"""A trace of each answer for OpenTelemetry, by its conventions for generative models. Nobody's words are in it.

Only where `otel_endpoint` is set; needs the extra `otel`. A caller's `traceparent` header is the span's parent.
"""

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edgechat import __version__
from edgechat.types import Done, Ending, Failed, GenRequest

EXPORT_S = 2.0  # a collector that is away costs no more at the end


class Tracing:
    """Sends spans to the collector at `endpoint`, in batches, from a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        about = Resource.create({"service.name": "edgechat", "service.version": __version__})
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("edgechat", __version__)

    def follow(self, request: GenRequest, model: str) -> "Trace":
        """The span of an answer of `model`, begun now."""
        sampling = request.sampling
        wanted = {
            "gen_ai.operation.name": "chat" if request.prompt is None else "text_completion",
            "gen_ai.provider.name": "edgechat",
            "gen_ai.request.model": model,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.top_k": sampling.top_k,
            "gen_ai.request.seed": sampling.seed,
        }
        known = {name: value for name, value in wanted.items() if value is not None}
        name = f"{known['gen_ai.operation.name']} {model}"
        return Trace(self._tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=known))

    def install(self, app: Starlette) -> None:
        """Let callers' traces go through `app`."""
        app.add_middleware(Traced)

    def close(self) -> None:
        """Send what waits. Blocks for seconds at the most."""
        self._provider.shutdown()


class Trace:
    """The span of one answer."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def speaks(self) -> None:
        """Its first token is there."""
        self._span.add_event("first token")

    def end(self, ending: Ending | None) -> None:
        """The answer is over like this; None: nobody wanted the rest."""
        span = self._span
        match ending:
            case Done(usage=usage, timing=timing):
                span.set_attribute("gen_ai.response.finish_reasons", [ending.finish_reason])
                span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
                span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
                span.set_attribute("edgechat.queue_ms", timing.queue_ms)
                span.set_attribute("edgechat.prefill_ms", timing.prefill_ms)
            case Failed(code=code):
                span.set_attribute("error.type", code)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class Traced:
    """ASGI middleware: spans of a request belong to the trace that its caller names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        token = context.attach(self._propagator.extract(Headers(scope=scope)))
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)
