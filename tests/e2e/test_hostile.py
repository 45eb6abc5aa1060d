"""The agent with 128 MiB to live in, and requests made to kill it.

Whatever a test sends, afterwards the agent has not been killed, has answered nothing by 500, has answered
/health/live within 500 ms all the time, shows a page that prometheus_client can parse, and has counted every span of
the good traffic that was sent in between, once.
"""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import hostile
import pytest
from cage import MIB, Cage, NoCageError, memory_cage
from payload import Batch, unique_name
from running import RunningAgent, running_agent, total

LIMIT = 128 * MIB
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def cage() -> Iterator[Cage]:
    try:
        with memory_cage(LIMIT) as made:
            yield made
    except NoCageError as reason:
        pytest.skip(str(reason))


class Ordeal:
    """Sends to the agent and keeps the books."""

    def __init__(self, agent: RunningAgent) -> None:
        self.agent = agent
        self.statuses: set[int] = set()
        self._batch = Batch(spans=64)
        self._good_spans = 0

    def send(self, request: hostile.Request) -> int:
        """One hostile request, then a good one."""
        _, headers, body = request
        status, _ = self.agent.post(body, headers)
        self.statuses.add(status)
        self.send_good()
        return status

    def send_good(self) -> None:
        """As an exporter does: one that is asked to come back later does."""
        body = self._batch.fresh(time.time_ns())
        for _ in range(10):
            status, answer = self.agent.post(body)
            if status != 503:
                break
            time.sleep(0.2)
        assert (status, answer) == (200, b"")
        self._good_spans += self._batch.count

    def flood(self, bodies: Iterable[bytes], spans: int) -> None:
        """Good requests with *spans* spans in all, four at a time."""
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(self.agent.post, bodies)) == {(200, b"")}
        self._good_spans += spans

    def check(self, cage: Cage) -> None:
        """What has to hold after every ordeal."""
        assert self.agent.process.poll() is None, self.agent.log()
        assert cage.kills() == 0
        assert not {status for status in self.statuses if status >= 500} - {503}
        assert "Traceback" not in self.agent.log()
        page = self.agent.metrics()
        assert total(page, "otel_latency_stage_duration_seconds_count") == self._good_spans


@pytest.fixture
def ordeal(cage) -> Iterator[Ordeal]:
    with running_agent(prefix=cage.prefix) as agent:
        with probing(agent) as waits:
            ordeal = Ordeal(agent)
            ordeal.send_good()
            yield ordeal
            ordeal.send_good()
        ordeal.check(cage)
        assert max(waits) <= 0.5


@contextmanager
def probing(agent: RunningAgent) -> Iterator[list[float]]:
    """Asks /health/live all the time; the list is how long each answer took."""
    waits: list[float] = []
    done = threading.Event()

    def probe() -> None:
        while not waits or not done.wait(0.02):
            begun = time.monotonic()
            try:
                status, _ = agent.get("/health/live", timeout=2)
            except OSError:
                status = 0
            waits.append(time.monotonic() - begun if status == 200 else float("inf"))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()


def test_the_cage_kills(cage):
    """A process that takes more than it may is killed: the cage is real."""
    greedy = subprocess.run([*cage.prefix, sys.executable, "-c", f"bytearray({200 * MIB})"], check=False)
    assert (greedy.returncode, cage.kills()) == (-9, 1)


def test_structural_bombs(ordeal):
    """4 KiB that would be 2 million spans are refused, a hundred times."""
    bomb = hostile.structural_bomb()
    assert len(bomb[2]) < 5000
    assert {ordeal.send(bomb) for _ in range(100)} == {413}


JSON_BOMBS = {
    "objects for spans": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{}", b"]}]}]}"),
    "lists for spans": (b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"[]", b"]}]}]}"),
    "objects for resources": (b'{"resourceSpans":[', b"{}", b"]}"),
    "objects for attributes": (b'{"resourceSpans":[{"resource":{"attributes":[', b"{}", b"]}}]}"),
    "lists in a key that nobody knows": (b'{"unknown":[', b"[]", b"]}"),
    "numbers": (b"[", b"1", b"]"),
}


@pytest.mark.parametrize("parts", JSON_BOMBS.values(), ids=JSON_BOMBS)
def test_json_bombs(ordeal, parts):
    """4 MiB of JSON that would be millions of objects are survived, packed and plain."""
    head, item, tail = parts
    body = head + b",".join([item] * ((4 * MIB - 100) // (len(item) + 1))) + tail
    for _ in range(3):
        ordeal.send(("plain", hostile.JSON, body))
        ordeal.send(("packed", {**hostile.JSON, "Content-Encoding": "gzip"}, gzip.compress(body, 1)))


def test_burst_of_names(ordeal):
    """More names than may wait for a tick, and then pages of as many series as there can be, in each format."""
    batches = [Batch(seed, 512, unique_name) for seed in range(80)]
    ordeal.flood([batch.fresh(time.time_ns()) for batch in batches], 80 * 512)
    for accept in (
        "text/plain",
        "application/openmetrics-text; version=1.0.0",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    ):
        for _ in range(2):
            ordeal.send_good()  # so that the page has to be made anew
            status, page = ordeal.agent.get("/metrics", {"Accept": accept})
            assert (status, len(page) > MIB) == (200, True)


def test_compression_bombs(ordeal):
    """Bodies that unpack to 64 MiB, or never seem to end, are refused."""
    for request in hostile.compression_bombs(64 * MIB):
        assert ordeal.send(request) in (400, 413), request[0]


GROUPS: dict[str, Callable[[], Iterator[hostile.Request]]] = {
    "encodings": hostile.bad_encodings,
    "deep values": hostile.deep_values,
    "broken text": hostile.broken_text,
    "extreme numbers": hostile.extreme_numbers,
    "not OTLP": hostile.not_otlp,
}


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_nonsense(ordeal, group):
    """What is not OTLP, or OTLP at its edges, is refused or counted."""
    for request in group():
        assert ordeal.send(request) in (200, 400, 413, 415), request[0]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["announced", "chunked"])
async def test_huge_bodies(ordeal, is_chunked):
    """Bodies of 100 MB are refused with 413, whether or not they say so, by eight senders at once."""
    heads = await asyncio.gather(*(send_huge(ordeal.agent.http_port, is_chunked=is_chunked) for _ in range(8)))
    statuses = {head.split()[1] for head in heads}
    assert statuses <= {b"413", b"503"}
    assert b"413" in statuses


async def send_huge(port: int, *, is_chunked: bool) -> bytes:
    """Send all of it if the agent lets us; answers the head of what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % (100 * MIB)
    writer.write(HEAD + length + b"\r\n\r\n")
    block = bytes(MIB)
    part = b"%x\r\n%b\r\n" % (len(block), block) if is_chunked else block

    async def push() -> None:
        for _ in range(100):
            writer.write(part)
            await writer.drain()

    pushing = asyncio.create_task(push())
    try:
        return await reader.readuntil(b"\r\n\r\n")
    finally:
        await asyncio.wait([pushing], timeout=5)
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        writer.close()


@pytest.mark.parametrize("size", [4 * MIB, 2 * MIB - 1024], ids=["over the limit", "just allowed"])
async def test_many_large_calls(ordeal, size):
    """Of 64 gRPC calls of megabytes at once, each over its own connection, none fails in a way that hides why; and
    nothing of them stays, so that three times as many do not need more.
    """
    body = b"\x0a" + _varint(size - 5) + bytes(size - 5)
    codes = []
    for _ in range(3):
        codes += await asyncio.gather(*(call(ordeal.agent.grpc_port, body) for _ in range(64)))
    allowed = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert set(codes) <= (allowed if size > 2 * MIB else allowed | {grpc.StatusCode.INVALID_ARGUMENT})


async def call(port: int, body: bytes) -> grpc.StatusCode:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            await channel.unary_unary(EXPORT)(body, timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def test_slow_bodies(ordeal):
    """A hundred senders that stop in the middle of a body are sent away; good ones are served meanwhile."""
    slow = [asyncio.create_task(send_half(ordeal.agent.http_port)) for _ in range(100)]
    while any(not task.done() for task in slow):
        await asyncio.to_thread(ordeal.send_good)
    assert {(await task).split()[1] for task in slow} == {b"408"}


async def send_half(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(500))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
