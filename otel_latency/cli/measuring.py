"""Measures for `otel-latency report`: an agent of our own under load, or one that runs, as it is.

An agent of our own listens on free ports of loopback, keeps its data in a directory of its own and is stopped in the
end. One that runs is only asked: nothing is sent to it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from prometheus_client.parser import text_string_to_metric_families

from otel_latency.cli.client import AgentClient
from otel_latency.demo.ports import Place, settle
from otel_latency.demo.process import AgentProcess
from otel_latency.errors import OtelLatencyError
from otel_latency.insight.report import HIGHER, NEITHER, Figure
from otel_latency.significance.statistics import quantile

BATCH: Final = 512
"""Spans in a request under full load, as an SDK sends them."""
STAGES: Final = ("stt", "retrieval", "llm", "tts")
PROBES: Final = 200
TIMEOUT: Final = 10.0
_MIB: Final = 1 << 20

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]
"""A page of metrics: by name, each sample with its labels."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is done, and how often."""

    rounds: int = 5
    seconds: float = 2.0
    """Of full load, and of sessions, in each round."""
    sessions: int = 100
    messages: float = 10.0
    """Spans a second of each session."""


async def own_agent(load: Load, told: Callable[[str, int, int], None]) -> list[Figure]:
    """The figures of a fresh agent in every round."""
    found: dict[str, Figure] = {}
    for number in range(load.rounds):
        told("measuring", number, load.rounds)
        for figure in await _round(load):
            before = found.get(figure.name)
            values = (*before.values, *figure.values) if before else figure.values
            found[figure.name] = Figure(figure.name, figure.unit, values, figure.better)
    return list(found.values())


def running_agent(url: str, seconds: float) -> tuple[str, list[Figure]]:
    """An agent's version, and what it says of itself, and how fast it answers, over some seconds."""
    client = AgentClient(url)
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT)
    before, began = _page(connection, url), time.monotonic()
    waits = [_timed(connection, url) for _ in range(PROBES)]
    time.sleep(max(seconds - (time.monotonic() - began), 0.0))
    after, taken = _page(connection, url), time.monotonic() - began
    connection.close()
    uptime = client.get("/status").get("uptime_seconds", 0.0)
    received = "otel_latency_agent_received_spans_total"
    version = next((labels["version"] for labels, _ in after.get("otel_latency_build_info", ())), "of unknown version")
    return version, [
        Figure("uptime", "s", (uptime,), NEITHER),
        *_memory("memory", after),
        Figure("received spans", "/s", ((_sum(after, received) - _sum(before, received)) / taken,), NEITHER),
        *_waits("answer of the agent", waits),
        *_sessions(after),
        *_external(after),
    ]


async def _round(load: Load) -> list[Figure]:
    began = time.monotonic()
    async with _agent() as (web, receiver):
        started = time.monotonic() - began
        # On this thread, though it blocks: the next agent is to be forked where no other thread runs.
        return _measured(load, web, receiver, started)


@asynccontextmanager
async def _agent() -> AsyncIterator[tuple[Place, Place]]:
    """A fresh agent's web server and receiver."""
    any_port = ("127.0.0.1", 0)
    places = settle({"web": any_port, "otlp.http": any_port})
    with tempfile.TemporaryDirectory(prefix="otel-latency-report-") as folder:
        settings = Path(folder) / "otel-latency.yaml"
        settings.write_text(f"otlp: {{grpc: {{enabled: false}}}}\nstore: {{path: {folder}/data}}\n", encoding="utf-8")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_LATENCY_")}
        environ |= {place.variable: str(place.port) for place in places.values()}
        agent = await AgentProcess.start(["--config", str(settings)], environ)
        try:
            for place in places.values():
                await agent.listening(place.host, place.port)
            yield places["web"], places["otlp.http"]
        finally:
            await agent.stop()


def _measured(load: Load, web: Place, receiver: Place, started: float) -> list[Figure]:
    page, sender = (HTTPConnection(place.host, place.port, timeout=TIMEOUT) for place in (web, receiver))
    try:
        idle = _page(page, web.url)
        rate, _ = _send(sender, receiver.url, load.seconds, spans=BATCH, pause=0.0)
        # Each session's messages of a tenth of a second at once, from a hundred sessions in one request.
        pause = 0.1
        spans = max(round(load.sessions * load.messages * pause), 1)
        session_rate, waits = _send(sender, receiver.url, load.seconds, spans=spans, pause=pause)
        probes = [_timed(page, web.url) for _ in range(PROBES)]
        loaded = _page(page, web.url)
    finally:
        page.close()
        sender.close()
    return [
        Figure("start-up", "s", (started,)),
        *_memory("memory, idle", idle),
        Figure("throughput", "spans/s", (rate,), HIGHER),
        Figure(f"{load.sessions} sessions", "spans/s", (session_rate,), HIGHER),
        *_waits(f"{load.sessions} sessions, request", waits),
        *_waits("answer of the agent", probes),
        *_memory("memory, loaded", loaded),
    ]


def _send(
    connection: HTTPConnection, url: str, seconds: float, *, spans: int, pause: float
) -> tuple[float, list[float]]:
    """Spans a second that were accepted, and how long each request took. *pause* is from one request to the next."""
    waits = []
    accepted = 0
    began = now = time.monotonic()
    while now - began < seconds:
        body = _body(spans)
        sent = time.monotonic()
        status = _ask(connection, url, "POST", "/v1/traces", body)[0]
        waits.append(time.monotonic() - sent)
        accepted += spans if status == 200 else 0
        if pause:
            time.sleep(max(len(waits) * pause - (time.monotonic() - began), 0.0))
        now = time.monotonic()
    return accepted / (now - began), waits


def _body(spans: int) -> bytes:
    """A request of stages that have just ended."""
    request = ExportTraceServiceRequest()
    origin = request.resource_spans.add()
    origin.resource.attributes.append(_attribute("service.name", "report"))
    scoped = origin.scope_spans.add()
    now_ns = time.time_ns()
    for number in range(spans):
        stage = STAGES[number % len(STAGES)]
        span = scoped.spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), parent_span_id=os.urandom(8))
        span.name = stage
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns - 100_000_000 - number * 1000, now_ns
        span.attributes.append(_attribute("session.id", f"session {number}"))
    return request.SerializeToString()


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _page(connection: HTTPConnection, url: str) -> Samples:
    status, body = _ask(connection, url, "GET", "/metrics")
    if status != 200:
        raise OtelLatencyError(f"{url}: /metrics answered {status}: is it an agent?")
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _timed(connection: HTTPConnection, url: str) -> float:
    """Seconds until the agent has answered that it is alive."""
    asked = time.monotonic()
    _ask(connection, url, "GET", "/health/live")
    return time.monotonic() - asked


def _ask(connection: HTTPConnection, url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        connection.request(method, path, body, {"Content-Type": "application/x-protobuf"} if body else {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or "no HTTP answer"
        raise OtelLatencyError(f"{url}: {reason}: is an agent running there?") from None


def _sum(page: Samples, name: str) -> float:
    return sum(value for _, value in page.get(name, ()))


def _memory(name: str, page: Samples) -> Iterator[Figure]:
    resident = _sum(page, "otel_latency_agent_resident_memory_bytes")
    if resident:
        yield Figure(name, "MiB", (resident / _MIB,))


def _waits(name: str, waits: Iterable[float]) -> Iterator[Figure]:
    """Median and 95th percentile, in milliseconds."""
    ordered = sorted(waits)
    yield Figure(f"{name}, p50", "ms", (median(ordered) * 1000,))
    yield Figure(f"{name}, p95", "ms", (quantile(ordered, 0.95) * 1000,))


def _sessions(page: Samples) -> Iterator[Figure]:
    if "otel_latency_sessions_active" in page:
        yield Figure("active sessions", "", (_sum(page, "otel_latency_sessions_active"),), NEITHER)


def _external(page: Samples) -> Iterator[Figure]:
    """How long others take to answer: the checks, and the language models of the last five minutes.

    How soon something that is down refuses to answer is no merit of it.
    """
    up = {labels["check"]: value for labels, value in page.get("otel_latency_check_up", ())}
    for check, value in up.items():
        yield Figure(f"check {check}, up", "", (value,), HIGHER)
    for labels, value in page.get("otel_latency_check_duration_seconds", ()):
        if up.get(labels["check"]):
            yield Figure(f"check {labels['check']}", "ms", (value * 1000,))
    for labels, value in page.get("otel_latency_llm_window_seconds", ()):
        if labels.get("window") == "5m" and labels.get("quantile") in ("0.5", "0.95") and value == value:  # noqa: PLR0124
            what = " ".join(filter(None, (labels.get("provider"), labels.get("model"), labels.get("task"))))
            yield Figure(f"{what}, p{float(labels['quantile']) * 100:.0f}", "ms", (value * 1000,))
