"""Real clients against the real way in: every item that an exporter sends is accepted and counted exactly once."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GRPCMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GRPCSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HTTPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HTTPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_latency import semconv
from otel_latency.ingest.intake import Signal

RESOURCE = Resource.create({"service.name": "shop"})
EXAMPLES = Path(__file__).parent / "testdata" / "otlp"


def send_spans(exporter):
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=100))
    tracer = provider.get_tracer("test")
    for number in range(250):
        with tracer.start_as_current_span("step", attributes={"number": number, "text": "é" * 20}):
            pass
    provider.shutdown()


def send_metrics(exporter):
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("test")
    for number in range(10):
        meter.create_counter("requests").add(1, {"number": number})
        meter.create_histogram("seconds").record(0.5, {"number": number})
    provider.shutdown()


def send_logs(exporter):
    provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("test")
    for number in range(30):
        event = semconv.OPERATION_START if number < 10 else "something.else"
        logger.emit(LogRecord(timestamp=1, event_name=event, trace_id=1, span_id=2, attributes={"number": number}))
    provider.shutdown()


SENDERS = {Signal.TRACES: (send_spans, 250), Signal.METRICS: (send_metrics, 20), Signal.LOGS: (send_logs, 30)}
HTTP = {Signal.TRACES: HTTPSpanExporter, Signal.METRICS: HTTPMetricExporter, Signal.LOGS: HTTPLogExporter}
GRPC = {Signal.TRACES: GRPCSpanExporter, Signal.METRICS: GRPCMetricExporter, Signal.LOGS: GRPCLogExporter}


async def check(agent, signal, exporter, transport):
    """Send through *exporter* on a thread, as an SDK does, and compare the counts."""
    send, count = SENDERS[signal]
    await asyncio.to_thread(send, exporter)
    assert dict(agent.intake.received) == {(signal, transport): count}
    assert not agent.intake.rejected
    arrived = {
        Signal.TRACES: (len(agent.spans), 250),
        Signal.METRICS: (len(agent.points), 20),
        Signal.LOGS: (len(agent.operations), 10),
    }
    assert arrived[signal][0] == arrived[signal][1]


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("signal", Signal)
async def test_http_protobuf(agent, signal, compression):
    """opentelemetry-exporter-otlp-proto-http, all its compressions."""
    exporter = HTTP[signal](endpoint=f"{agent.http_url}/v1/{signal.value}", compression=compression)
    await check(agent, signal, exporter, "http")


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
@pytest.mark.parametrize("signal", Signal)
async def test_http_json(agent, signal, compression):
    """opentelemetry-exporter-otlp-json-http, all its compressions, where it is installed."""
    module, name = {
        Signal.TRACES: ("trace_exporter", "OTLPSpanExporter"),
        Signal.METRICS: ("metric_exporter", "OTLPMetricExporter"),
        Signal.LOGS: ("_log_exporter", "OTLPLogExporter"),
    }[signal]
    package = pytest.importorskip(f"opentelemetry.exporter.otlp.json.http.{module}")
    from opentelemetry.exporter.otlp.common.http import Compression as JSONCompression

    exporter = getattr(package, name)(
        endpoint=f"{agent.http_url}/v1/{signal.value}", compression=JSONCompression(compression)
    )
    await check(agent, signal, exporter, "http")


@pytest.mark.parametrize("compression", grpc.Compression)
@pytest.mark.parametrize("signal", Signal)
async def test_grpc(agent, signal, compression):
    """opentelemetry-exporter-otlp-proto-grpc, all compressions of grpcio."""
    exporter = GRPC[signal](endpoint=agent.grpc_target, insecure=True, compression=compression)
    await check(agent, signal, exporter, "grpc")


OFFICIAL = {"trace.json": (Signal.TRACES, 1), "metrics.json": (Signal.METRICS, 4), "logs.json": (Signal.LOGS, 1)}
OFFICIAL["events.json"] = (Signal.LOGS, 1)


@pytest.mark.parametrize(("name", "expected"), OFFICIAL.items(), ids=OFFICIAL)
async def test_official_examples(agent, post, name, expected):
    """The examples of opentelemetry-proto are taken as they are: 200 and `{}`."""
    signal, count = expected
    reply = await post(agent, signal.value, (EXAMPLES / name).read_bytes(), "application/json")
    assert (reply.status, json.loads(reply.body)) == (200, {})
    assert dict(agent.intake.received) == {(signal, "http"): count}
    assert not agent.intake.rejected
