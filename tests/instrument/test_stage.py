"""A stage's span."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from otel_latency.instrument.stage import stage


def test_span_of_a_stage(spans):
    """It has the stage's name and the user's attributes, and nothing else when it went well."""
    with stage("retrieve", index="main", **{"db.system": "sqlite"}) as retrieve:
        retrieve.set(documents=3)
        retrieve.event("cache_miss", key="k")
    (span,) = spans
    assert ("retrieve", SpanKind.INTERNAL) == (span.name, span.kind)
    assert {"index": "main", "db.system": "sqlite", "documents": 3} == dict(span.attributes)
    assert [("cache_miss", {"key": "k"})] == [(event.name, dict(event.attributes)) for event in span.events]
