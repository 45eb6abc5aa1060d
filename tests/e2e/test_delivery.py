"""The whole agent between those who send and those who are sent to; the short tiers of `tests.chaos`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from chaos import canary
from chaos.forward_kill import kill
from chaos.oracle import started
from chaos.upstream import FAULTS, Tier, overflow, suffer
from forward.otlp import without_content
from ingest.test_exporters import GRPC, HTTP
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter as JSONLogExporter
from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter as JSONMetricExporter
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter as JSONSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link
from sink import REQUESTS, Arrival, grpc_sink, http_sink

from otel_latency.forward.content import denied
from otel_latency.records import Signal

JSON = {Signal.TRACES: JSONSpanExporter, Signal.METRICS: JSONMetricExporter, Signal.LOGS: JSONLogExporter}
KEPT = {"text": 'é\n"', "flag": True, "whole": -(2**62), "real": 0.1, "many": ["a", "b"], "numbers": [1, 2]}
CONTENT = {"gen_ai.input.messages": "What about my order?", "llm.prompts.0": "hello", "output.value": "{}"}


def finished_spans(attributes: dict[str, Any]) -> Sequence[Any]:
    """A trace of three, with events, links and a failure."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("shop", "1.2", attributes={"scope": "attribute"})
    with tracer.start_as_current_span("turn", attributes=attributes) as turn:
        turn.add_event("first_token", attributes)
        with pytest.raises(ValueError), tracer.start_as_current_span("fails", links=[Link(turn.get_span_context())]):
            raise ValueError("oh")
        tracer.start_span("chat", attributes=attributes).end()
    return memory.get_finished_spans()


def collected_metrics(attributes: dict[str, Any]) -> Any:
    """A counter, a gauge and a histogram."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("shop")
    meter.create_counter("orders", "1", "Orders.").add(3, attributes)
    meter.create_gauge("depth").set(2.5, attributes)
    meter.create_histogram("wait", "s").record(0.25, attributes)
    return reader.get_metrics_data()


def written_logs(attributes: dict[str, Any]) -> Sequence[Any]:
    """A record as it is, and an event that says what was said."""
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("shop")
    logger.emit(LogRecord(timestamp=1, body="as it is", attributes=attributes))
    if attributes is not KEPT:
        logger.emit(LogRecord(timestamp=2, body={"content": "hello"}, event_name="gen_ai.user.message"))
    return memory.get_finished_logs()


MAKERS: dict[Signal, Callable[[dict[str, Any]], Any]] = {
    Signal.TRACES: finished_spans,
    Signal.METRICS: collected_metrics,
    Signal.LOGS: written_logs,
}


def export(port: int, grpc_port: int, telemetry: dict[Signal, Any]) -> None:
    """By each of the SDK's exporters."""
    for signal, data in telemetry.items():
        url = f"http://127.0.0.1:{port}/v1/{signal.value}"
        for exporter in (
            HTTP[signal](endpoint=url),
            GRPC[signal](endpoint=f"127.0.0.1:{grpc_port}", insecure=True),
            JSON[signal](endpoint=url),
        ):
            assert exporter.export(data).name == "SUCCESS"
            exporter.shutdown()


def is_json(arrival: Arrival) -> bool:
    return arrival.headers.get("content-type") == "application/json"


def as_sent(arrival: Arrival) -> tuple[str, bytes]:
    return arrival.path, arrival.body


def cut(arrival: Arrival) -> tuple[str, bytes]:
    """What is to be left of a request; of JSON, apart from blanks."""
    if is_json(arrival):
        return arrival.path, json.dumps(_cut(json.loads(arrival.body))).encode()
    message = REQUESTS[Signal(arrival.path[4:])].FromString(arrival.body)
    return arrival.path, without_content(message).SerializeToString()


def _cut(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_cut(one) for one in tree if not (isinstance(one, dict) and one.get("key", "").encode() in denied())]
    if not isinstance(tree, dict):
        return tree
    is_content = tree.get("eventName") == "gen_ai.user.message"
    return {key: _cut(value) for key, value in tree.items() if not (is_content and key == "body")}


async def test_real_exporters(tmp_path):
    """What exporters send arrives behind two agents, and at once over gRPC, with every byte but those of content."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        far, direct = await enter(http_sink()), await enter(http_sink())
        far_grpc, direct_grpc = await enter(grpc_sink()), await enter(grpc_sink())
        second = await enter(agent(tmp_path / "second", f"http://127.0.0.1:{far.port}"))
        addresses = f"http://127.0.0.1:{second.http_port}", f"grpc://127.0.0.1:{far_grpc.port}"
        first = await enter(agent(tmp_path / "first", *addresses))
        for number, attributes in enumerate((KEPT, KEPT | CONTENT), 1):
            for sink in (far, direct, far_grpc, direct_grpc):
                sink.arrivals.clear()
            telemetry = {signal: make(attributes) for signal, make in MAKERS.items()}
            await asyncio.to_thread(export, direct.port, direct_grpc.port, telemetry)
            await asyncio.to_thread(export, first.http_port, first.grpc_port, telemetry)
            await far.has(9)
            await far_grpc.has(9)
            sent = [*direct.arrivals, *direct_grpc.arrivals]
            expected = Counter(map(as_sent if number == 1 else cut, sent))
            arrived = Counter(as_sent(one) if number == 1 or not is_json(one) else cut(one) for one in far.arrivals)
            assert expected == arrived
            assert 3 == sum(map(is_json, sent)) == sum(map(is_json, far.arrivals))
            # Over gRPC even JSON goes as protobuf: it is the same message as the others.
            protobuf = Counter(map(as_sent if number == 1 else cut, direct_grpc.arrivals))
            assert {one: 3 * count for one, count in protobuf.items()} == Counter(map(as_sent, far_grpc.arrivals))


def agent(folder, *endpoints):
    """One that forwards there."""
    folder.mkdir()
    config = {"forward": [{"name": f"to{number}", "endpoint": one} for number, one in enumerate(endpoints)]}
    return started(files={"otel-latency.yaml": json.dumps(config)}, directory=folder)


async def test_faults_of_a_destination(tmp_path):
    """Whatever a destination does, everything gets there once it is well, or is counted; see `chaos.upstream`."""
    said = await suffer(Tier(), tmp_path, FAULTS)
    assert len(FAULTS) == sum(" 0 lost" in line for line in said)


async def test_a_full_log(tmp_path):
    """At its cap the log lets go of the oldest, and each lost span is counted."""
    await overflow(tmp_path)


async def test_kills_while_forwarding(tmp_path):
    """Whatever moment an agent is killed at, what it had acknowledged arrives, and little of it twice."""
    assert " 0 lost" in await kill(tmp_path, 3, seed=5)


async def test_control_of_kills(tmp_path):
    """Without the log on disk the same kills lose spans, and that is seen."""
    with pytest.raises(AssertionError, match=r"[1-9]\d* lost"):
        await kill(tmp_path, 1, seed=5, durability="memory")


@pytest.mark.parametrize("content", ["drop", "keep"])
async def test_canaries(tmp_path, content):
    """No prompt and no secret is found in any file, page, stream, notification, answer or line of the log."""
    run = canary.Run(tmp_path, content)
    await run.run()
    in_log = [place for place in run.places if ".wal" in place] if content == "keep" else []
    assert in_log == canary.found(canary.PROMPT, run.places)
    assert 2 < len(run.secrets)
    assert [] == [place for secret in run.secrets for place in canary.found(secret, run.places)]
    assert {"/metrics", "/api/v1/alerts", "notifications"} <= set(canary.found(canary.MARKER, run.places))
    told = {one.headers["idempotency-key"] for one in run.forwarded if canary.PROMPT.encode() in one.body}
    assert (content == "keep") == bool(told)
    assert all(canary.MARKER.encode() in one.body and canary.SECRET.encode() not in one.body for one in run.forwarded)
    assert all("x-key" in one.headers and canary.SECRET in one.headers["x-key"] for one in run.forwarded)
