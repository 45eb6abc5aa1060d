"""Where exporters send to, by OpenTelemetry's variables."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.sdk.metrics import Counter
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_latency.instrument.export import OutboxSpanProcessor, log_outbox, metric_interval, metric_outbox, span_outbox
from otel_latency.instrument.span_exporter import QuickSpanExporter

HTTP, GRPC = "http/protobuf", "grpc"
ENDPOINTS = {
    "nothing said": (None, {}, "http://127.0.0.1:4318/v1/traces"),
    "an argument": ("http://agent:4318/", {}, "http://agent:4318/v1/traces"),
    "a variable": (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/"}, "http://a:1/v1/traces"),
    "the signal's own": (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:1/x"}, "http://a:1/x"),
    "an argument over a variable": (
        "http://b:2",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1"},
        "http://b:2/v1/traces",
    ),
    "gRPC": (None, {"OTEL_EXPORTER_OTLP_PROTOCOL": GRPC}, "127.0.0.1:4317"),
    "gRPC, an argument": ("http://agent:4317", {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": GRPC}, "agent:4317"),
}


@pytest.mark.parametrize(("endpoint", "variables", "expected"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_endpoint(monkeypatch, endpoint, variables, expected):
    """An argument counts most, then the variables, then this machine."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outbox = span_outbox(endpoint)
    assert expected == outbox._exporter._endpoint
    assert ("grpc" in expected or "4317" in expected) == isinstance(outbox._exporter, GrpcExporter)
    outbox.close(0)


@pytest.mark.parametrize(("protocol", "expected"), [("http/protobuf", True), ("grpc", False)])
def test_who_encodes(protocol, expected):
    """Spans over HTTP are encoded as they end; gRPC's exporter gets the spans themselves."""
    outbox = span_outbox(None, {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert expected == isinstance(outbox._exporter, QuickSpanExporter) == (outbox._prepare is not None)
    outbox.close(0)


def test_logs_have_their_own_path():
    """The reports go to the same place."""
    outbox = log_outbox("http://agent:4318")
    assert "http://agent:4318/v1/logs" == outbox._exporter._endpoint
    outbox.close(0)


@pytest.mark.parametrize(("value", "expected"), [("1000", 1.0), ("soon", 0.2), ("", 0.2), ("0", 0.2)])
def test_standard_variables_of_the_queue(value, expected):
    """The batch processor's variables hold for ours; nonsense is ignored."""
    outbox = span_outbox(None, {"OTEL_BSP_SCHEDULE_DELAY": value, "OTEL_BSP_MAX_QUEUE_SIZE": "7"})
    assert (expected, 7, 7) == (outbox._delay, outbox._limit, outbox._batch)
    outbox.close(0)


def test_only_sampled_spans_leave():
    """What the sampler refused is not exported."""
    outbox = span_outbox(None)
    for sampler in (ALWAYS_OFF, None):
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        processor = OutboxSpanProcessor(outbox)
        provider.add_span_processor(processor)
        outbox._is_closed = True  # count, send nothing
        provider.get_tracer("t").start_span("one").end()
    assert 1 == outbox.dropped


def test_metrics(monkeypatch):
    """They go to the same place, as often and in the temporality that the variables say."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA")
    outbox, make_reader = metric_outbox("http://agent:4318")
    assert "http://agent:4318/v1/metrics" == outbox._exporter._exporter._endpoint
    assert AggregationTemporality.DELTA is make_reader()._preferred_temporality[Counter]
    assert [2.5, 10.0] == [metric_interval(10.0, {"OTEL_METRIC_EXPORT_INTERVAL": text}) for text in ("2500", "soon")]
    outbox.close(0)
