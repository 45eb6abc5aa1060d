"""`configure`: where the spans of this process go. Called once at start-up; everything works, unheard, without it.

A TracerProvider that the application has set is used as it is. Only without one, or where an *endpoint* is asked for,
are spans exported by us: 200 ms after their end, by the SDK's OTLP exporter, from a bounded queue that drops when
nobody takes. The process ends within a second of when it would have, agent or not. Forked children carry on. For
metrics the same holds, see `meters`, but that a MeterProvider of the application's never sends to us.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics, trace
from opentelemetry._logs import SeverityNumber, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument import carry
from otel_latency.instrument.agent_estimates import address, agent_estimates
from otel_latency.instrument.guard import guard
from otel_latency.instrument.meters import INTERVAL, Meters, Reading
from otel_latency.instrument.outbox import Outbox, close_all
from otel_latency.instrument.runtime import own_version, runtime
from otel_latency.instrument.stream import settle_dropped

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

    from otel_latency.instrument.running import Watcher

EXIT_TIMEOUT: Final = 0.6
"""Seconds that the last spans may delay the end of the process."""


class Pipeline:
    """What `configure` has set up, to be taken down by `shutdown`."""

    def __init__(self) -> None:
        self.is_configured = False
        self.installed: SdkTracerProvider | None = None
        self.outboxes: list[Outbox[Any]] = []
        self.watcher: Watcher | None = None
        self.meters: Meters | None = None
        self.changing = threading.RLock()

    def after_fork(self) -> None:
        """The lock may be held by a thread that does not exist here."""
        self.changing = threading.RLock()


_pipeline: Final = Pipeline()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pipeline.after_fork)


def configure(
    service: str | None = None,
    *,
    endpoint: str | None = None,
    agent: str | None = None,
    carry_threads: bool = False,
    tracer_provider: trace.TracerProvider | None = None,
) -> None:
    """Send the spans of this process, and reports about what is running, to the agent.

    *service* names the process (`service.name`). *endpoint* is an OTLP base address; without it OTEL_EXPORTER_OTLP_*
    decide, else it is http://127.0.0.1:4318. *agent* is the agent's web address, which `estimate` asks; without it
    OTEL_LATENCY_AGENT decides, else it is http://127.0.0.1:8080, and `off` asks nobody. *carry_threads* hands the
    current span to every thread and executor, which patches both. *tracer_provider* takes the place of the global
    one. A second call does nothing before `shutdown`; none does anything while OTEL_SDK_DISABLED is true, and
    OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER turn off a signal each by `none`. Nothing is
    raised: faults are logged.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    with _pipeline.changing:
        if _pipeline.is_configured:
            return
        _pipeline.is_configured = True
        try:
            _build(service, endpoint, tracer_provider, agent)
        except Exception as fault:
            guard.caught("configure", fault)
        if carry_threads:
            carry.patch_threads()


def shutdown(timeout: float = EXIT_TIMEOUT) -> None:
    """Send what is queued, for *timeout* seconds at most, and stop. Called by itself at exit; twice is harmless."""
    with _pipeline.changing:
        if not _pipeline.is_configured:
            return
        _pipeline.is_configured = False
        try:
            _take_down(timeout)
        except Exception as fault:
            guard.caught("shutdown", fault)


def flush(timeout: float = 5.0) -> bool:
    """Whether everything recorded so far was handed to the exporter within *timeout* seconds."""
    until = time.monotonic() + timeout
    if _pipeline.meters is not None:
        _pipeline.meters.read()
    results = [outbox.flush(max(until - time.monotonic(), 0.0)) for outbox in list(_pipeline.outboxes)]
    return all(results)


def _take_down(timeout: float) -> None:
    until = time.monotonic() + timeout
    runtime.is_watching = False
    runtime.emit = None
    agent_estimates.point_at(None)
    if _pipeline.watcher is not None:
        _pipeline.watcher.close()
        _pipeline.watcher = None
    if _pipeline.meters is not None:
        _pipeline.meters.end()
    settle_dropped()
    runtime.open.clear()
    outboxes, _pipeline.outboxes = _pipeline.outboxes, []
    close_all(outboxes, max(until - time.monotonic(), 0.0))
    carry.restore_threads()
    runtime.tracer = runtime.users_tracer()
    atexit.unregister(shutdown)


def _build(
    service: str | None, endpoint: str | None, tracer_provider: trace.TracerProvider | None, agent: str | None
) -> None:
    provider = tracer_provider or trace.get_tracer_provider()
    is_ours = provider is _pipeline.installed or not _is_set(provider)
    if is_ours or endpoint is not None:
        provider = _export(provider, service, endpoint)
    _watch_inner_calls(provider)
    runtime.tracer = _tracer(provider)
    if not _is_unwanted("traces"):
        agent_estimates.point_at(address(agent, is_ours=is_ours or endpoint is not None))
    logs: LoggerProvider = get_logger_provider()
    if is_ours or endpoint is not None:
        _send_metrics(service, endpoint)
        if _is_unwanted("logs"):
            return
        logs = _own_logs(service, endpoint)
    elif not _is_set(logs):
        return
    _report_running(logs)


def _tracer(provider: trace.TracerProvider) -> trace.Tracer:
    """Under a provider of the application's, spans are the SDK's in every respect."""
    if provider is not _pipeline.installed:
        return provider.get_tracer(semconv.SCOPE, own_version())
    from otel_latency.instrument.quick_span import quick_tracer

    return quick_tracer(provider, semconv.SCOPE, own_version())


def _watch_inner_calls(provider: object) -> None:
    if hasattr(provider, "add_span_processor"):
        from otel_latency.instrument import inner

        inner.install(provider)


def _is_set(provider: object) -> bool:
    """Whether somebody has set a provider: until then the API has stand-ins of its own."""
    return not type(provider).__module__.startswith(
        ("opentelemetry.trace", "opentelemetry._logs", "opentelemetry.metrics")
    )


def _is_unwanted(signal: str) -> bool:
    """Whether OTEL_TRACES_EXPORTER, OTEL_LOGS_EXPORTER or OTEL_METRICS_EXPORTER says none."""
    return os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none"


def _resource(service: str | None) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": service} if service else None)


def _export(provider: trace.TracerProvider, service: str | None, endpoint: str | None) -> trace.TracerProvider:
    """Have *provider*, or a new one, send to us."""
    from opentelemetry.sdk.trace import TracerProvider

    from otel_latency.instrument.export import OutboxSpanProcessor, span_outbox

    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
        _pipeline.installed = provider
    if not _is_unwanted("traces"):
        outbox = span_outbox(endpoint)
        provider.add_span_processor(OutboxSpanProcessor(outbox))
        _keep(outbox)
    return provider


def _own_logs(service: str | None, endpoint: str | None) -> LoggerProvider:
    """A provider for our reports alone: making it the global one would be felt by the application's logging."""
    from opentelemetry.sdk._logs import LoggerProvider

    from otel_latency.instrument.export import OutboxLogProcessor, log_outbox

    outbox = log_outbox(endpoint)
    provider = LoggerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_log_record_processor(OutboxLogProcessor(outbox))
    _keep(outbox)
    return provider


def _send_metrics(service: str | None, endpoint: str | None) -> None:
    """A provider of the application's is left alone; ours does nothing until there is a meter."""
    if _is_unwanted("metrics"):
        return
    if _pipeline.meters is None:
        if _is_set(metrics.get_meter_provider()):
            return
        _pipeline.meters = Meters(lambda: _sdk_meters(service))
        metrics.set_meter_provider(_pipeline.meters)
    _pipeline.meters.begin(lambda provider: _reading(provider, endpoint))


def _sdk_meters(service: str | None) -> SdkMeterProvider:
    from opentelemetry.sdk.metrics import MeterProvider

    return MeterProvider(resource=_resource(service), shutdown_on_exit=False)


def _reading(provider: SdkMeterProvider, endpoint: str | None) -> Reading:
    from otel_latency.instrument.export import metric_interval, metric_outbox

    outbox, make_reader = metric_outbox(endpoint)
    _keep(outbox)
    return Reading(provider, make_reader, metric_interval(INTERVAL))


def _keep(outbox: Outbox[Any]) -> None:
    _pipeline.outboxes.append(outbox)
    atexit.unregister(shutdown)
    atexit.register(shutdown)
    _end_with_multiprocessing()


def _report_running(provider: LoggerProvider) -> None:
    from otel_latency.instrument.running import Watcher

    logger = provider.get_logger(semconv.SCOPE, own_version())

    def emit(event: str, context: Context, attributes: Mapping[str, AttributeValue]) -> None:
        logger.emit(
            timestamp=time.time_ns(),
            context=context,
            severity_number=SeverityNumber.WARN if event == semconv.OPERATION_WARNING else SeverityNumber.INFO,
            event_name=event,
            attributes=dict(attributes),
        )

    def sent() -> None:
        for outbox in _pipeline.outboxes:
            outbox.hurry()

    runtime.emit = emit
    _pipeline.watcher = Watcher(emit, sent)
    runtime.is_watching = True


def _end_with_multiprocessing() -> None:
    """Children of multiprocessing end without atexit, but not without their finalizers."""
    from multiprocessing import util

    def at_end(_: object) -> None:
        util.Finalize(None, shutdown, exitpriority=0)

    at_end(None)
    util.register_after_fork(_pipeline, at_end)
