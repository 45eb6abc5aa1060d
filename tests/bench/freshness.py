"""How old a span is when /metrics shows it.

A real opentelemetry-sdk with a batch delay of 200 ms ends spans at random moments and exports them by OTLP/HTTP; a
reader asks for /metrics every 10 ms, on a connection that it keeps. The k-th span is visible when the answer that
counts k spans has been read. The agent's part begins when the exporter is handed the batch, so encoding and sending
are on its account.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection

from bench.report import Figure, run
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from running import RunningAgent, running_agent

from otel_latency.sketch import nearest_rank

COUNT = b"otel_latency_stage_duration_seconds_count{"
READ_EVERY = 0.01


class NotingExporter(OTLPSpanExporter):
    """Notes for each span when it was handed over."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint=endpoint)
        self.handed_over: list[float] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.handed_over += [time.monotonic()] * len(spans)
        return super().export(spans)


class Reader(threading.Thread):
    """Notes how many spans each answer of /metrics counts, and when it was there, until all are."""

    def __init__(self, agent: RunningAgent, expected: int) -> None:
        super().__init__(daemon=True)
        self._port = agent.web_port
        self._expected = expected
        self.counts: list[int] = []
        self.times: list[float] = []

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self.counts or self.counts[-1] < self._expected:
            connection.request("GET", "/metrics")
            page = connection.getresponse().read()
            self.times.append(time.monotonic())
            self.counts.append(sum(int(line.split()[-1]) for line in page.splitlines() if line.startswith(COUNT)))
            time.sleep(READ_EVERY)

    def visible(self, number: int) -> float:
        """When span *number*, counted from 1, could first be seen."""
        return self.times[bisect_left(self.counts, number)]


def end_spans(exporter: NotingExporter, count: int, rng: random.Random) -> list[float]:
    """When each of *count* spans ended, 50 ms apart on average."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
    tracer = provider.get_tracer("otel_latency")
    ended = []
    for _ in range(count):
        time.sleep(rng.expovariate(20))
        tracer.start_span("probe").end()
        ended.append(time.monotonic())
    provider.shutdown()
    return ended


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    with running_agent() as agent:
        exporter = NotingExporter(f"http://127.0.0.1:{agent.http_port}/v1/traces")
        reader = Reader(agent, arguments.spans)
        reader.start()
        ended = end_spans(exporter, arguments.spans, random.Random(arguments.seed))
        reader.join(10)
    visible = [reader.visible(number) for number in range(1, arguments.spans + 1)]
    for what, since, bar in (
        ("span end to visible", ended, 0.5),
        ("of which the agent", exporter.handed_over, 0.3),
    ):
        waits = sorted(seen - begun for seen, begun in zip(visible, since, strict=True))
        yield Figure(f"{what}, p50 of {len(waits)} spans", _quantile(waits, 0.5), "s")
        yield Figure(f"{what}, p99", _quantile(waits, 0.99), "s", bar, f"longest {waits[-1]:.3f} s")


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[nearest_rank(q, len(ordered)) - 1]


if __name__ == "__main__":
    run(measure, __doc__, {"spans": (300, "spans to end"), "seed": (1, "of the random moments")})
