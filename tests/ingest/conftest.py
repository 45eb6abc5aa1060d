"""The receivers as tests use them: in front of a recording function, or of the real `Intake`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
import pytest

from otel_latency.ingest.admission import Admission
from otel_latency.ingest.grpc import GRPCReceiver
from otel_latency.ingest.http import HTTPReceiver
from otel_latency.ingest.intake import Intake, Outcome, Signal
from otel_latency.records import MetricPoint, Operation, Profile, SpanRow


class Call(NamedTuple):
    signal: Signal
    body: bytes
    is_json: bool
    transport: str


class Span(NamedTuple):
    """A `SpanRow` with names."""

    profile: Profile
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    start_ns: int
    end_ns: int
    measures: dict[str, float | str] | None


class Recorder:
    """An `Accept` that notes its calls and answers with `outcome`, or raises it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.outcome: Outcome | Exception = Outcome()

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool, transport: str) -> Outcome:
        self.calls.append(Call(signal, body, is_json, transport))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """A connection on which a test decides about every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: str | bytes) -> None:
        for part in parts:
            self.writer.write(part.encode() if isinstance(part, str) else part)
        await self.writer.drain()

    async def reply(self) -> Reply:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Reply(int(head[0].split()[1]), headers, body)

    async def closed(self) -> bool:
        """True once the far side has closed, by FIN or by RST."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def _raw(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


@dataclass
class Agent:
    """Both receivers in front of one real `Intake`, and what came out of it."""

    intake: Intake
    http: HTTPReceiver
    grpc: GRPCReceiver
    spans: list[Span] = field(default_factory=list)
    points: list[MetricPoint] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http.port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def raw():
    """A function from a port to a `RawClient`, as an async context manager."""
    return _raw


@pytest.fixture
async def http(recorder) -> AsyncIterator[HTTPReceiver]:
    receiver = HTTPReceiver(recorder, admission=Admission(), port=0)
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def grpc_receiver(recorder) -> AsyncIterator[GRPCReceiver]:
    receiver = GRPCReceiver(recorder, admission=Admission(), port=0)
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def post():
    """A function that posts a body to one of an agent's paths."""

    async def post(agent: Agent, path: str, body: bytes | str, content_type: str, **headers: str) -> Reply:
        url = f"{agent.http_url}/v1/{path}"
        async with aiohttp.request("POST", url, data=body, headers={"Content-Type": content_type, **headers}) as reply:
            return Reply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.read())

    return post


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with receiver() as pieces:
        yield pieces


@asynccontextmanager
async def receiver() -> AsyncIterator[Agent]:
    """The agent's own way in, from socket to records."""
    spans: list[Span] = []
    points: list[MetricPoint] = []
    operations: list[Operation] = []

    def take_spans(rows: list[SpanRow]) -> None:
        spans.extend(map(Span._make, rows))

    intake = Intake(spans=take_spans, points=points.extend, operations=operations.extend)
    admission = Admission()
    http = HTTPReceiver(intake.accept, admission=admission, port=0)
    grpc = GRPCReceiver(intake.accept, admission=admission, port=0)
    await http.start()
    await grpc.start()
    yield Agent(intake, http, grpc, spans, points, operations)
    await grpc.stop()
    await http.stop()
