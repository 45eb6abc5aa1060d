"""What arrives at a receiver that knows nothing of us but OTLP."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_latency import semconv
from otel_latency.demo.pipeline import plan
from otel_latency.demo.traffic import Traffic

SEED = 1


class Backend:
    """Keeps spans by trace, and log records by span; `turn_arrived` is set when a whole turn is there."""

    def __init__(self):
        self.traces = {}
        self.reports = {}
        self.services = {}
        self.turn_arrived = asyncio.Event()

    async def take_traces(self, request):
        for batch in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            for scoped in batch.scope_spans:
                for span in scoped.spans:
                    assert semconv.SCOPE == scoped.scope.name
                    self.traces.setdefault(span.trace_id, []).append(span)
                    self.services[span.span_id] = attributes(batch.resource)["service.name"]
                    if not span.parent_span_id:
                        self.turn_arrived.set()
        return web.Response()

    async def take_logs(self, request):
        for batch in ExportLogsServiceRequest.FromString(await request.read()).resource_logs:
            for record in (record for scoped in batch.scope_logs for record in scoped.log_records):
                self.reports.setdefault(record.span_id, []).append(record)
        return web.Response()


def attributes(thing):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes}


def seconds(from_ns, to_ns):
    return (to_ns - from_ns) / 1e9


@pytest.fixture
async def backend():
    backend = Backend()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", backend.take_traces), web.post("/v1/logs", backend.take_logs)])
    async with TestServer(app) as server:
        backend.url = f"http://{server.host}:{server.port}"
        yield backend


async def test_a_turn_as_planned(backend):
    """The first turn to arrive is the one of the plan: spans, times, milestones, model call, reports."""
    traffic = Traffic(backend.url, turns_per_second=20.0, seed=SEED)
    playing = asyncio.create_task(traffic.run())
    await asyncio.wait_for(backend.turn_arrived.wait(), 20)
    playing.cancel()
    await asyncio.wait([playing])
    await asyncio.to_thread(traffic.close)

    root = next(span for spans in backend.traces.values() for span in spans if not span.parent_span_id)
    spans = {attributes(span).get(semconv.STAGE, ""): span for span in backend.traces[root.trace_id]}
    length = seconds(root.start_time_unix_nano, root.end_time_unix_nano)
    plans = [plan(number, seed=SEED) for number in range(traffic.turns)]
    turn = min(plans, key=lambda one: abs(one.end - length))
    assert turn.end == pytest.approx(length, abs=1e-6)
    assert (turn.name, Span.SPAN_KIND_SERVER) == (root.name, root.kind)
    assert turn.service == backend.services[root.span_id]
    assert turn.session == attributes(root)[semconv.SESSION]
    for name, at in turn.milestones.items():
        assert at == attributes(root)[semconv.MILESTONES[name]]

    assert {"", *(step.stage for step in turn.steps)} == set(spans)
    for step in turn.steps:
        span = spans[step.stage]
        assert root.span_id == span.parent_span_id
        begun = seconds(root.start_time_unix_nano, span.start_time_unix_nano)
        ended = seconds(root.start_time_unix_nano, span.end_time_unix_nano)
        assert (step.start, step.end) == pytest.approx((begun, ended), abs=1e-6)
        assert {**step.attributes, **step.results}.items() <= attributes(span).items()
        events = {event.name: seconds(root.start_time_unix_nano, event.time_unix_nano) for event in span.events}
        assert dict(step.milestones) == pytest.approx(events, abs=1e-6)
        for name, at in step.milestones.items():
            assert at - step.start == attributes(span)[semconv.MILESTONES[name]]
        assert [semconv.OPERATION_START, semconv.OPERATION_END] == [
            record.event_name for record in backend.reports[span.span_id]
        ]

    (link,) = spans["tts"].links
    assert (spans["llm"].span_id, {semconv.AFTER: "first_sentence"}) == (link.span_id, attributes(link))
    assert Span.SPAN_KIND_CLIENT == spans["llm"].kind


async def test_close_without_receiver():
    """Where nobody listens closing still comes to an end, and harms nobody."""
    traffic = Traffic("http://127.0.0.1:1", turns_per_second=1.0, seed=SEED)
    await asyncio.to_thread(traffic.close)
    await asyncio.to_thread(traffic.close)
