"""What the tests of streams need: our library's spans kept in memory, and a stand-in for a call."""

from __future__ import annotations

from time import monotonic_ns

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Recording:
    """A call that keeps what it is told."""

    def __init__(self):
        self.start_monotonic_ns = monotonic_ns()
        self.milestones = {}
        self.attributes = {}
        self.counts = {}

    def milestone(self, name, *, at=None):
        self.milestones.setdefault(name, at)

    def set(self, **attributes):
        self.attributes |= attributes

    def count(self, counts, source):
        self.counts |= counts


def memory_provider():
    """A tracer provider and the exporter that keeps its spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter
