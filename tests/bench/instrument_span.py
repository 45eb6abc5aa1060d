"""What a stage costs the user's program, against OpenTelemetry's own span in the same run.

python -m tests.bench instrument_span
"""

from __future__ import annotations

import time
from contextlib import contextmanager

from bench.report import Figure, compared, in_turns, run
from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn

SPANS = 2000


class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS


def per_span(work):
    """Microseconds of this thread's time: the exporter's thread has its own."""

    def cost():
        start = time.thread_time_ns()
        for _ in range(SPANS):
            work()
        return (time.thread_time_ns() - start) / SPANS / 1000

    return cost


@contextmanager
def recording(tracer, *, is_watching=False):
    before = runtime.tracer
    runtime.tracer, runtime.is_watching = tracer, is_watching
    outer = get_current()
    try:
        yield
    finally:
        runtime.tracer, runtime.is_watching = before, False
        runtime.open.clear()
        attach(outer)


def spans(tracer):
    """Name -> one span without a body, ours and OpenTelemetry's."""

    def raw():
        with tracer.start_as_current_span("retrieve"):
            pass

    def ours():
        with stage("retrieve"):
            pass

    def raw_attributes():
        with tracer.start_as_current_span("retrieve", attributes={"documents": 3, "index": "main"}):
            pass

    def ours_attributes():
        with stage("retrieve", documents=3, index="main"):
            pass

    @tracer.start_as_current_span("retrieve")
    def raw_decorated():
        pass

    @stage("retrieve")
    def ours_decorated():
        pass

    return {
        "raw": raw,
        "stage": ours,
        "raw, attributes": raw_attributes,
        "stage, attributes": ours_attributes,
        "raw, decorator": raw_decorated,
        "stage, decorator": ours_decorated,
    }


def whole_turn():
    with turn("answer", session="s"), llm_call("draft", provider="openai", model="gpt-4o"):
        pass


def measure(arguments):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    tracer = provider.get_tracer("bench")
    attach(Context())
    yield from _against("SDK span, same processor", tracer, arguments.rounds, bar=1.3)
    attach(trace.set_span_in_context(tracer.start_span("around")))
    yield from _against("SDK span, inside another", tracer, arguments.rounds, bar=1.3)
    attach(Context())
    yield from _against("SDK span, running work watched", tracer, arguments.rounds, bar=1.3, is_watching=True)
    with recording(tracer):
        yield Figure(
            "turn with session, request id and an LLM call", min(per_span(whole_turn)() for _ in range(5)), "us"
        )
    provider.shutdown()
    attach(Context())
    yield from _against(
        "no provider: the API's no-op span", trace.NoOpTracerProvider().get_tracer("bench"), arguments.rounds, bar=1.0
    )


def _against(what, tracer, rounds, *, bar, is_watching=False):
    with recording(tracer, is_watching=is_watching):
        costs = in_turns({name: per_span(work) for name, work in spans(tracer).items()}, int(rounds))
    for suffix in ("", ", attributes", ", decorator"):
        pair = compared(costs, f"stage{suffix}", f"raw{suffix}")
        detail = f"{pair.candidate:.2f} us, {pair.reference:.2f} us"
        yield Figure(f"stage{suffix} / {what}", pair.ratio, bar=bar, detail=detail)


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (15, "rounds of each")})
