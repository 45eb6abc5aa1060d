"""Audio and connection measurements."""

from __future__ import annotations

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_latency.instrument.measure import record_audio, record_connection
from otel_latency.instrument.stage import stage


def test_events_without_a_meter_provider(spans):
    """Where nobody takes metrics, the span has them."""
    with stage("call"):
        record_audio(latency=0.04, quality=4.2, chunk_bytes=640, glitches=1, channel="in")
        record_connection(rtt=0.03, reconnections=2)
    assert [
        (
            "audio",
            {
                "channel": "in",
                "otel_latency.audio.latency": 0.04,
                "otel_latency.audio.quality": 4.2,
                "otel_latency.audio.chunk.size": 640,
                "otel_latency.audio.glitches": 1,
            },
        ),
        ("connection", {"otel_latency.connection.rtt": 0.03, "otel_latency.connection.reconnections": 2}),
    ] == [(event.name, dict(event.attributes)) for event in spans[0].events]


def test_metrics(spans, monkeypatch):
    """With a MeterProvider they are histograms and counters, and the span has none."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    with stage("call"):
        for rtt in (0.03, 0.05):
            record_connection(rtt=rtt, packet_loss=0.01, bandwidth=64_000, reconnections=1, peer="eu")
        record_audio(glitches=3)
    (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    points = {metric.name: metric.data.data_points[0] for metric in scope.metrics}
    assert pytest.approx((0.08, 2)) == (
        points["otel_latency.connection.rtt"].sum,
        points["otel_latency.connection.rtt"].count,
    )
    assert (2, 3) == (
        points["otel_latency.connection.reconnections"].value,
        points["otel_latency.audio.glitches"].value,
    )
    assert 0.01 == next(
        bound for bound in points["otel_latency.connection.packet_loss"].explicit_bounds if bound >= 0.01
    )
    assert {"peer": "eu"} == dict(points["otel_latency.connection.rtt"].attributes)
    assert () == spans[0].events
