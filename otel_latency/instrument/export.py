"""OTLP exporters by OpenTelemetry's standard variables, and the SDK's processors that feed them.

Without a variable or an *endpoint* everything goes to the agent on this machine: HTTP on 4318, gRPC on 4317.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_latency.instrument.outbox import BATCH, LIMIT, Exporter, Outbox

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader

Signal = Literal["traces", "logs", "metrics"]

SPAN_DELAY: Final = 0.2
METRICS_LIMIT: Final = 8
"""Readings that may wait."""
LOG_DELAY: Final = 0.2
"""For what nobody hurries; the reports about running operations are sent at once."""
DEFAULT: Final = {"http": "http://127.0.0.1:4318", "grpc": "http://127.0.0.1:4317"}


class OutboxSpanProcessor(SpanProcessor):
    """Queues ended spans that were sampled."""

    def __init__(self, outbox: Outbox[ReadableSpan]) -> None:
        self.outbox = outbox

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self.outbox.put(span)

    def shutdown(self) -> None:
        self.outbox.close(timeout=1.0)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.outbox.flush(timeout_millis / 1000)


class OutboxLogProcessor(LogRecordProcessor):
    """Queues log records without the context they came with, which may be large."""

    def __init__(self, outbox: Outbox[ReadableLogRecord]) -> None:
        self.outbox = outbox

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        record = copy.copy(log_record.log_record)
        record.context = Context()
        resource = log_record.resource or Resource.get_empty()
        self.outbox.put(ReadableLogRecord(record, resource, log_record.instrumentation_scope, log_record.limits))

    def shutdown(self) -> None:
        self.outbox.close(timeout=1.0)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.outbox.flush(timeout_millis / 1000)


def span_outbox(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> Outbox[ReadableSpan]:
    """Honours OTEL_BSP_SCHEDULE_DELAY, ..._MAX_QUEUE_SIZE and ..._MAX_EXPORT_BATCH_SIZE."""
    make, prepare = _maker("traces", endpoint, environment), None
    if _protocol("traces", environment) == "http":
        from otel_latency.instrument.encode import SpanEncoder
        from otel_latency.instrument.span_exporter import QuickSpanExporter

        if QuickSpanExporter.is_usable():
            encoder = SpanEncoder()
            address = _address("traces", endpoint, environment)
            make, prepare = lambda: QuickSpanExporter(address, encoder), encoder.row
    return Outbox(
        make,
        "spans",
        _number(environment, "OTEL_BSP_SCHEDULE_DELAY", SPAN_DELAY * 1000) / 1000,
        limit=int(_number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", LIMIT)),
        batch=int(_number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)),
        prepare=prepare,
    )


def log_outbox(endpoint: str | None, environment: Mapping[str, str] = os.environ) -> Outbox[ReadableLogRecord]:
    """For the reports about running operations."""
    return Outbox(_maker("logs", endpoint, environment), "reports", LOG_DELAY)


class _EachReading:
    """An exporter of metrics that takes readings as others take spans."""

    def __init__(self, exporter: MetricExporter) -> None:
        self.temporality = exporter._preferred_temporality
        self.aggregation = exporter._preferred_aggregation
        self._exporter = exporter

    def export(self, batch: Sequence[Any]) -> Any:
        return [self._exporter.export(reading) for reading in batch][-1]

    def shutdown(self) -> None:
        self._exporter.shutdown()


def metric_outbox(
    endpoint: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[Outbox[Any], Callable[[], MetricReader]]:
    """Where readings are queued, and what makes readers for it, of the temporality that the exporter prefers."""
    from opentelemetry.sdk.metrics.export import MetricReader

    class OutboxMetricReader(MetricReader):
        def _receive_metrics(self, metrics_data: object, *_options: Any, **_more: Any) -> None:
            outbox.put(metrics_data)
            outbox.hurry()

        def shutdown(self, timeout_millis: float = 30_000, **_options: Any) -> None:
            """The outbox is closed by who made it."""

    make = _maker("metrics", endpoint, environment)
    outbox: Outbox[Any] = Outbox(make, "metrics", LOG_DELAY, limit=METRICS_LIMIT)
    prefers: Any = make()
    prefers.shutdown()
    return outbox, lambda: OutboxMetricReader(prefers.temporality, prefers.aggregation)


def metric_interval(default: float, environment: Mapping[str, str] = os.environ) -> float:
    """Seconds between readings, by OTEL_METRIC_EXPORT_INTERVAL."""
    return _number(environment, "OTEL_METRIC_EXPORT_INTERVAL", default * 1000) / 1000


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(environment.get(name, ""))
    except ValueError:
        return default
    return value if value >= 1 else default


def _maker(signal: Signal, endpoint: str | None, environment: Mapping[str, str]) -> Callable[[], Exporter[Any]]:
    protocol, address = _protocol(signal, environment), _address(signal, endpoint, environment)
    return lambda: _exporter(signal, protocol, address)


def _said(signal: Signal, what: str, environment: Mapping[str, str]) -> str | None:
    own = environment.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
    return own or environment.get(f"OTEL_EXPORTER_OTLP_{what}")


def _protocol(signal: Signal, environment: Mapping[str, str]) -> Literal["http", "grpc"]:
    return "grpc" if _said(signal, "PROTOCOL", environment) == "grpc" else "http"


def _address(signal: Signal, endpoint: str | None, environment: Mapping[str, str]) -> str | None:
    """Where to send; None leaves it to the standard variables."""
    protocol = _protocol(signal, environment)
    if endpoint is None and not _said(signal, "ENDPOINT", environment):
        endpoint = DEFAULT[protocol]
    if endpoint is not None and protocol == "http":
        endpoint = f"{endpoint.rstrip('/')}/v1/{signal}"
    return endpoint


def _exporter(signal: Signal, protocol: Literal["http", "grpc"], endpoint: str | None) -> Exporter[Any]:
    """None as the *endpoint* leaves it to the standard variables. Each import is heavy: 100 to 200 ms."""
    if protocol == "grpc" and signal == "traces":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

        return GrpcSpans(endpoint=endpoint)
    if protocol == "grpc" and signal == "metrics":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics

        return _EachReading(GrpcMetrics(endpoint=endpoint))
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs

        return GrpcLogs(endpoint=endpoint)
    if signal == "traces":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        return HttpSpans(endpoint=endpoint)
    if signal == "metrics":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics

        return _EachReading(HttpMetrics(endpoint=endpoint))
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs

    return HttpLogs(endpoint=endpoint)
