"""Plays the turns of `pipeline` in real time, through OpenTelemetry's own SDK and OTLP exporters.

Nothing is short-cut: a turn takes as long as it says, its spans are made by a `TracerProvider` for each service, wait
for their batch (200 ms) and leave over HTTP. Spans carry the times of the plan, not those at which the event loop came
round to them. While a stage runs, the log records of design §4 tell that it does.

Cost: about 3 % of a core at four turns a second, and two threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from opentelemetry._logs import Logger, LogRecord
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, set_span_in_context

from otel_latency import semconv
from otel_latency.demo.pipeline import SCENARIOS, Step, Turn, arrivals, plan, slow_provider

BATCH_DELAY_MS: Final = 200
EXPORT_TIMEOUT: Final = 2.0
"""Retries included, so that `close` is quick where nobody listens any more."""
_KINDS: Final = {"llm": SpanKind.CLIENT}


@dataclass(frozen=True, slots=True)
class _Service:
    tracer: Tracer
    logger: Logger


class Traffic:
    """Callers who speak to the pipeline, whose telemetry goes to the OTLP receiver at *endpoint*."""

    def __init__(self, endpoint: str, *, turns_per_second: float, seed: int) -> None:
        self._turns_per_second = turns_per_second
        self._seed = seed
        # One pair for all services: a batch may hold spans of several resources.
        self._spans = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT),
            schedule_delay_millis=BATCH_DELAY_MS,
        )
        self._logs = BatchLogRecordProcessor(
            OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", timeout=EXPORT_TIMEOUT),
            schedule_delay_millis=BATCH_DELAY_MS,
        )
        self._services = {scenario.service: self._service(scenario.service) for scenario in SCENARIOS}
        self.turns = 0
        """Turns begun so far."""
        self.slow_provider = ""
        """Who has a slow spell now."""

    async def run(self) -> None:
        """Begin turns at their times until cancelled; those under way then are never heard of again."""
        start = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for number, arrival in enumerate(arrivals(self._turns_per_second, seed=self._seed)):
                await _until(start + arrival)
                self.slow_provider = slow_provider(arrival, seed=self._seed)
                self.turns += 1
                turn = plan(number, seed=self._seed, slow_provider=self.slow_provider)
                tasks.create_task(self._play(turn), name=f"turn {number}")

    def close(self) -> None:
        """Send what waits, and end the threads. Blocks for as long as the receiver needs."""
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._logs.shutdown()  # type: ignore[no-untyped-call]

    def _service(self, name: str) -> _Service:
        resource = Resource({"service.name": name})
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(self._spans)
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        loggers.add_log_record_processor(self._logs)
        return _Service(tracers.get_tracer(semconv.SCOPE), loggers.get_logger(semconv.SCOPE))

    async def _play(self, turn: Turn) -> None:
        begun, begun_ns = asyncio.get_running_loop().time(), time.time_ns()
        playing = _Playing(self._services[turn.service], turn, lambda at: begun_ns + round(at * 1e9))
        for at, step, is_start in turn.moments():
            await _until(begun + at)
            if is_start:
                playing.start(step)
            else:
                playing.end(step)
        playing.finish()


class _Playing:
    """A turn under way; *time_ns* tells the Unix time of a moment in it."""

    def __init__(self, service: _Service, turn: Turn, time_ns: Callable[[float], int]) -> None:
        self._service = service
        self._turn = turn
        self._time_ns = time_ns
        self._spans: dict[str, Span] = {}
        self._root = service.tracer.start_span(
            turn.name,
            context=Context(),
            kind=SpanKind.SERVER,
            attributes={semconv.TURN: turn.name, semconv.SESSION: turn.session},
            start_time=time_ns(0.0),
        )

    def start(self, step: Step) -> None:
        span = self._spans[step.stage] = self._service.tracer.start_span(
            step.span_name,
            context=set_span_in_context(self._root, Context()),
            kind=_KINDS.get(step.stage, SpanKind.INTERNAL),
            attributes={semconv.STAGE: step.stage, semconv.SESSION: self._turn.session, **step.attributes},
            links=self._links(step),
            start_time=self._time_ns(step.start),
        )
        self._report(semconv.OPERATION_START, span, step, step.start)

    def end(self, step: Step) -> None:
        span = self._spans[step.stage]
        span.set_attributes(step.results)
        for name, at in step.milestones.items():
            self._mark(span, name, at, step.start)
        self._close(span, step.status, step.error_type, step.end)
        self._report(semconv.OPERATION_END, span, step, step.end)

    def finish(self) -> None:
        for name, at in self._turn.milestones.items():
            self._mark(self._root, name, at, 0.0)
        error_type = next((step.error_type for step in self._turn.steps if step.error_type), "")
        self._close(self._root, self._turn.status, error_type, self._turn.end)

    def _links(self, step: Step) -> list[Link]:
        if step.after is None:
            return []
        stage, milestone = step.after
        return [Link(self._spans[stage].get_span_context(), {semconv.AFTER: milestone})]

    def _mark(self, span: Span, name: str, at: float, start: float) -> None:
        span.add_event(name, timestamp=self._time_ns(at))
        span.set_attribute(semconv.MILESTONES[name], at - start)

    def _close(self, span: Span, status: str, error_type: str, at: float) -> None:
        span.set_attribute(semconv.STATUS, status)
        if error_type:
            span.set_attribute("error.type", error_type)
            span.set_status(StatusCode.ERROR)
        span.end(self._time_ns(at))

    def _report(self, event: str, span: Span, step: Step, at: float) -> None:
        self._service.logger.emit(
            LogRecord(
                timestamp=self._time_ns(at),
                context=set_span_in_context(span, Context()),
                event_name=event,
                attributes={semconv.STAGE: step.stage, semconv.ELAPSED: at - step.start, **step.attributes},
            )
        )


async def _until(when: float) -> None:
    await asyncio.sleep(when - asyncio.get_running_loop().time())
