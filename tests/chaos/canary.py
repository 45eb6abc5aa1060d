"""A prompt and a secret that must not be found anywhere, through a run in which everything goes wrong.

The prompt is in every attribute, event and body that is known to hold content, at every level of a request, in protobuf
and in JSON, in requests that are taken, taken in part, and refused. The secrets are in headers, files, addresses and
keys. Destinations refuse, echo what they were sent, lose answers, or are not there. `Run.places` is all that can be
read from outside afterwards: files, pages, the live stream, notifications, what was forwarded.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import time
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import zstandard
from aiohttp import web
from chaos.oracle import AGENT, started
from forward.pems import PEMs
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from running import PROTOBUF, RunningAgent, ask, total
from sink import REQUESTS, SERVICES, Arrival, Sink, grpc_sink, http_sink, reset, status

from otel_latency.forward.content import EVENTS, denied
from otel_latency.records import Signal

PROMPT = "c4n4ry-pr0mpt"
SECRET = "c4n4ry-s3cr3t"
MARKER = "k3pt-m4rker"
"""Is in an attribute that is no content, so that we know where we would find one."""
KEYS = tuple(sorted(key.decode() for key in denied().keys)) + tuple(
    key.decode() + (".0.content" if not key.endswith(b".") else "x") for key in denied().prefixes
)
TRACE = bytes(range(16))

RULES = """\
groups:
  - name: queues
    interval: 250ms
    rules:
      - alert: Deep
        expr: depth > 5
"""
PAGES = (
    "/",
    "/status",
    "/metrics",
    "/health",
    "/health/live",
    "/health/ready",
    "/api/v1/overview",
    "/api/v1/turns",
    f"/api/v1/turns/{TRACE.hex()}",
    "/api/v1/operations",
    "/api/v1/operations/running",
    "/api/v1/estimate?task=chat",
    "/api/v1/anomalies",
    "/api/v1/sessions",
    "/api/v1/providers",
    "/api/v1/summary",
    "/api/v1/durations",
    "/api/v1/history?series=otel_latency_stage_duration_seconds",
    "/api/v1/alerts/history",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/query?query=depth",
    '/api/v1/query?query={__name__=~".%2B"}',
)


# What is sent.


def _put(attributes: Any, name: str = "") -> None:
    """The prompt under each key, as a text, in a list and in a map."""
    for number, key in enumerate(KEYS):
        value = attributes.add(key=key).value
        if number % 3 == 0:
            value.string_value = PROMPT
        elif number % 3 == 1:
            value.array_value.values.add().kvlist_value.values.add(key="content").value.string_value = PROMPT
        else:
            value.kvlist_value.values.add(key="text").value.string_value = PROMPT
    attributes.add(key="shop.cart").value.string_value = MARKER
    if name:
        attributes.add(key="event.name").value.string_value = name


def spans(number: int, now_ns: int) -> Message:
    """A turn of two stages; more than its attributes would make a span be refused, so they are dealt out."""
    request = REQUESTS[Signal.TRACES]()
    outer = request.resource_spans.add()
    outer.resource.attributes.add(key="service.name").value.string_value = "shop"
    scoped = outer.scope_spans.add()
    for at, name in enumerate(("turn", "chat gpt-4o-mini", "execute_tool search")):
        span = scoped.spans.add(
            trace_id=TRACE,
            span_id=(10 * number + at + 1).to_bytes(8, "big"),
            parent_span_id=(10 * number + 1).to_bytes(8, "big") if at else b"",
            name=name,
            start_time_unix_nano=now_ns - 2_000_000_000,
            end_time_unix_nano=now_ns - 1_000_000_000 + at,
        )
        span.attributes.add(key="gen_ai.operation.name").value.string_value = "chat" if at == 1 else "execute_tool"
        span.attributes.add(key="gen_ai.request.model").value.string_value = "gpt-4o-mini"
        _put(span.attributes)
        for event in EVENTS:
            made = span.events.add(name=event.decode(), time_unix_nano=now_ns)
            made.attributes.add(key="content").value.string_value = PROMPT
            made.attributes.add(key="gen_ai.system").value.string_value = "openai"
        _put(span.links.add(trace_id=TRACE, span_id=b"l" * 8).attributes)
    _put(outer.resource.attributes)
    _put(scoped.scope.attributes)
    return request


def metrics(number: int, now_ns: int) -> Message:
    """A gauge on which a rule fires, one that has content for labels, and a counter with content in its exemplars."""
    request = REQUESTS[Signal.METRICS]()
    scoped = request.resource_metrics.add().scope_metrics.add()
    gauge = scoped.metrics.add(name="depth").gauge.data_points.add(time_unix_nano=now_ns, as_double=7.0 + number)
    gauge.attributes.add(key="queue").value.string_value = "main"
    gauge.attributes.add(key="shop.cart").value.string_value = MARKER
    gauge.attributes.add(key="input").value.string_value = PROMPT
    spoken = scoped.metrics.add(name="spoken").gauge
    for key in KEYS:
        point = spoken.data_points.add(time_unix_nano=now_ns, as_double=1.0)
        point.attributes.add(key="cart").value.string_value = key
        point.attributes.add(key=key).value.string_value = PROMPT
    _put(spoken.data_points.add(time_unix_nano=now_ns, as_double=1.0).attributes)
    counted = scoped.metrics.add(name="calls").sum
    counted.aggregation_temporality, counted.is_monotonic = AGGREGATION_TEMPORALITY_CUMULATIVE, True
    point = counted.data_points.add(time_unix_nano=now_ns, as_int=number)
    _put(point.exemplars.add(time_unix_nano=now_ns, as_double=1.0).filtered_attributes)
    return request


def logs(number: int, now_ns: int) -> Message:
    """Events, by field and by attribute, with a body and attributes; and reports of running operations."""
    request = REQUESTS[Signal.LOGS]()
    scoped = request.resource_logs.add().scope_logs.add()
    for event in EVENTS:
        for record in (
            scoped.log_records.add(time_unix_nano=now_ns, event_name=event.decode()),
            scoped.log_records.add(time_unix_nano=now_ns),
        ):
            record.body.kvlist_value.values.add(key="content").value.string_value = PROMPT
            _put(record.attributes, "" if record.event_name else event.decode())
    started_one = scoped.log_records.add(time_unix_nano=now_ns, event_name="otel_latency.operation.start")
    started_one.trace_id, started_one.span_id = TRACE, (1000 + number).to_bytes(8, "big")
    started_one.attributes.add(key="otel_latency.operation.name").value.string_value = "chat"
    _put(started_one.attributes)
    return request


MAKERS: dict[Signal, Callable[[int, int], Message]] = {
    Signal.TRACES: spans,
    Signal.METRICS: metrics,
    Signal.LOGS: logs,
}


def to_protobuf(message: Message) -> bytes:
    return message.SerializeToString()


def to_json(message: Message) -> bytes:
    """OTLP's own JSON: ids in hexadecimal."""
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(_with_hex_ids(tree)).encode()


def _with_hex_ids(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_with_hex_ids(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    ids = {"traceId", "spanId", "parentSpanId"}
    return {key: b64decode(value).hex() if key in ids else _with_hex_ids(value) for key, value in tree.items()}


def requests() -> Iterator[tuple[Signal, dict[str, str], bytes]]:
    """Good ones, and with each what can be wrong with it."""
    number = 0
    for signal, make in MAKERS.items():
        for kind, encode in (("application/x-protobuf", to_protobuf), ("application/json", to_json)):
            for _ in range(3):
                number += 1
                yield signal, {"Content-Type": kind}, encode(make(number, time.time_ns()))
            body = encode(make(0, time.time_ns()))
            yield signal, {"Content-Type": kind}, body[: len(body) // 2]
            yield signal, {"Content-Type": kind}, body + PROMPT.encode()
            yield signal, {"Content-Type": kind, "Content-Encoding": "gzip"}, gzip.compress(body)[:-9]
            yield signal, {"Content-Type": kind, "Content-Encoding": PROMPT}, body
            yield signal, {"Content-Type": f"text/{PROMPT}"}, body
            yield signal, {"Content-Type": kind}, body * 40
    nameless = spans(0, time.time_ns())
    for span in nameless.resource_spans[0].scope_spans[0].spans[1:]:
        span.ClearField("span_id")
    yield Signal.TRACES, {"Content-Type": "application/x-protobuf"}, nameless.SerializeToString()
    yield Signal.TRACES, {"Content-Type": "application/json"}, json.dumps({PROMPT: PROMPT}).encode()


# Who is told, and how they answer.


async def echo(request: web.Request) -> web.Response:
    """Refuses, and says all it was sent."""
    body = await request.read()
    return web.Response(status=400, text=f"{request.headers['X-Key']} {_heard(body)!r}")


async def echo_later(request: web.Request) -> web.Response:
    """The same, but come again."""
    return web.Response(status=503, text=f"{request.headers['X-Key']}", headers={"Retry-After": "0"})


def _heard(body: bytes) -> bytes:
    """The prompt and a little around it, or the beginning."""
    at = body.find(PROMPT.encode())
    return body[max(at - 20, 0) : at + 40] if at >= 0 else body[:60]


async def echo_partly(request: web.Request) -> web.Response:
    """Takes it but for one item, and says what was in it."""
    said = request.headers["X-Key"].encode() + b" " + _heard(await request.read())
    partial = b"\x08\x01\x12" + bytes([len(said)]) + said
    return web.Response(body=b"\x0a" + bytes([len(partial)]) + partial, content_type="application/x-protobuf")


class Run:
    """The agent with all around it; *content* is what `forward.content` says."""

    def __init__(self, folder: Path, content: str) -> None:
        self.folder = folder
        self.content = content
        self.hooked: list[Arrival] = []
        self.forwarded: list[Arrival] = []
        self.answers: list[tuple[int, bytes]] = []
        self.pages: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.log = ""
        self.secrets: list[str] = []

    @property
    def places(self) -> dict[str, bytes]:
        """Everything that can be read from outside, by where; forwarded requests come by `forwarded`."""
        return {
            **self.pages,
            **self.files,
            "the agent's log": self.log.encode(),
            "notifications": b"\n".join(one.body for one in self.hooked),
            "answers": b"\n".join(body for _, body in self.answers),
        }

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            hook, http = [await stack.enter_async_context(http_sink()) for _ in range(2)]
            grpc_far = await stack.enter_async_context(grpc_sink())
            http.answers += [echo, echo_partly, echo_later, reset, status(413), echo_partly]
            hook.answers += [status(500, SECRET.encode(), "text/plain")]
            files = self._files(hook, http, grpc_far)
            async with started(files=files, directory=self.folder) as agent:
                await asyncio.to_thread(self._send, agent)
                await self._wait(agent, hook)
                self.pages = await asyncio.to_thread(lambda: dict(_pages(agent)))
                self.log = agent.log()
            self.log = agent.log()
        self.hooked, self.forwarded = hook.arrivals, [*http.arrivals, *grpc_far.arrivals]
        self.files = dict(_files(self.folder / "otel-latency-data"))

    def _files(self, hook: Sink, http: Sink, grpc_far: Sink) -> dict[str, str]:
        pems = PEMs(self.folder)
        self.secrets = [SECRET, *Path(pems.key_file).read_text(encoding="ascii").splitlines()[1:-1]]
        written = {"key.txt": f"{SECRET}-file", "url.txt": f"http://127.0.0.1:{hook.port}/{SECRET}"}
        bearer = {"Authorization": f"Bearer {SECRET}-header", "X-Key": f"{SECRET}-key"}
        to = {"content": self.content}
        tls = {"ca_file": pems.ca_file, "cert_file": pems.cert_file, "key_file": pems.key_file}
        config = {
            "forward": [
                {"name": "http", "endpoint": f"http://127.0.0.1:{http.port}", "headers": bearer, **to},
                {"name": "grpc", "endpoint": f"grpc://127.0.0.1:{grpc_far.port}", "header_files": {"x-key": "key.txt"}},
                {"name": "gone", "endpoint": "https://127.0.0.1:1", "headers": bearer, "tls": tls},
                {"name": "plain", "endpoint": f"grpcs://127.0.0.1:{http.port}", "headers": bearer, "tls": tls},
            ],
            "notify": [
                {"name": "hook", "type": "webhook", "url_file": "url.txt", "headers": bearer},
                {"name": "slack", "type": "slack", "webhook_url": f"http://127.0.0.1:1/{SECRET}"},
                {"name": "duty", "type": "pagerduty", "routing_key": SECRET, "url": f"http://127.0.0.1:1/{SECRET}"},
            ],
            "rules": {"files": ["queues.rules.yaml"], "interval": "250ms", "sample_interval": "250ms"},
        }
        return {"otel-latency.yaml": json.dumps(config), "queues.rules.yaml": RULES, **written}

    def _send(self, agent: RunningAgent) -> None:
        for signal, headers, body in requests():
            self.answers.append(ask("POST", agent.http_port, f"/v1/{signal.value}", body, headers, 10.0))
            if headers == PROTOBUF:
                self.answers.append(_ask_grpc(agent.grpc_port, signal, body))

    async def _wait(self, agent: RunningAgent, hook: Sink) -> None:
        """Until everything was delivered that can be, the alert has been told, and the history is written."""
        await hook.has(1)
        async with asyncio.timeout(15):
            while True:
                page = await asyncio.to_thread(agent.metrics)
                if not sum(total(page, AGENT + "queued_spans", destination=one) for one in ("http", "grpc")):
                    return
                await asyncio.sleep(0.1)


def _ask_grpc(port: int, signal: Signal, body: bytes) -> tuple[int, bytes]:
    """The answer, or what is said instead."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return 200, channel.unary_unary(f"/{SERVICES[signal]}/Export")(body, timeout=10.0)
        except grpc.RpcError as error:
            said = f"{error.details()} {error.trailing_metadata()}"
            return 400, said.encode()


def _pages(agent: RunningAgent) -> Iterator[tuple[str, bytes]]:
    for path in PAGES:
        yield path, agent.get(path)[1]
    for kind in ("application/openmetrics-text; version=1.0.0", "application/vnd.google.protobuf"):
        yield f"/metrics as {kind}", agent.get("/metrics", {"Accept": kind})[1]
    yield "/api/v1/stream", _stream(agent)


def _stream(agent: RunningAgent) -> bytes:
    """The events of the live page: those of the past, and some of now."""
    connection, seen = HTTPConnection("127.0.0.1", agent.web_port, timeout=10), b""
    try:
        connection.request("GET", "/api/v1/stream")
        response = connection.getresponse()
        while seen.count(b"event: snapshot") < 3:
            seen += response.read1(1 << 16)
    finally:
        connection.close()
    return seen


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file as it stands, and what is packed in it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield str(path.relative_to(folder)), data
            yield f"{path.name}, unpacked", b"\n".join(_unpacked(path, data))


def _unpacked(path: Path, data: bytes) -> Iterator[bytes]:
    if path.suffix == ".wal":
        yield from _frames(data)
    elif path.suffix == ".db":
        with sqlite3.connect(path) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    yield from (_plain(value) for value in row)
        database.close()


def _frames(data: bytes) -> Iterator[bytes]:
    """What zstandard packed, wherever it begins."""
    magic = b"\x28\xb5\x2f\xfd"
    for part in data.split(magic)[1:]:
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(magic + part)


def _plain(value: object) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode()
    unpacked = b"".join(_frames(value))
    for bits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with suppress(zlib.error):
            unpacked += zlib.decompress(value, bits)
    return value + unpacked


def found(text: str, places: dict[str, bytes]) -> Sequence[str]:
    """Where it is."""
    return [place for place, data in places.items() if text.encode() in data]
