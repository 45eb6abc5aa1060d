"""Shared by the tests of forwarding: a log in memory, requests, and pieces that are put together."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sink import grpc_sink, http_sink

from otel_latency.config.sections import ForwardTLS
from otel_latency.forward.batch import Batch
from otel_latency.forward.credentials import Credentials
from otel_latency.forward.worker import Worker
from otel_latency.records import Signal
from otel_latency.testing import FakeClock

NOW = 1_700_000_000.0


def spans(*names, **attributes):
    """A trace request in protobuf."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    for number, name in enumerate(names, 1):
        span = scoped.spans.add(name=name, trace_id=b"t" * 16, span_id=number.to_bytes(8, "big"))
        for key, value in attributes.items():
            span.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return request.SerializeToString()


class MemoryLog:
    """A `Source`: what is appended comes out in order, and is counted until it is committed."""

    def __init__(self):
        self.dropped = Counter()
        self.committed = 0
        self.fault = None
        self._batches = []
        self._read = 0
        self._arrived = asyncio.Event()

    def append(self, body, signal=Signal.TRACES, *, is_json=False, items=1, at=NOW):
        """The batch's place."""
        position = len(self._batches) + 1
        self._batches.append(Batch(position, round(at * 1e9), signal, is_json, items, body))
        self._arrived.set()
        return position

    async def read(self, most_bytes):
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault
        while self._read == len(self._batches):
            self._arrived.clear()
            await self._arrived.wait()
        found = self._batches[self._read : self._read + 8]
        self._read += len(found)
        return found

    def commit(self, position):
        assert position > self.committed
        self.committed = position

    @property
    def queued(self):
        return sum(batch.items for batch in self._batches[self.committed :])

    @property
    def queued_spans(self):
        waiting = self._batches[self.committed :]
        return sum(batch.items for batch in waiting if batch.signal is Signal.TRACES)

    @property
    def recovered_spans(self):
        return 0

    @property
    def dropped_spans(self):
        return self.dropped

    @property
    def oldest_seconds(self):
        return 0.0


def credentials(headers=None, header_files=None, **tls):
    return Credentials("forward[0]", headers=headers or {}, header_files=header_files or {}, tls=ForwardTLS(**tls))


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def source():
    return MemoryLog()


@pytest.fixture
def worker():
    made = Worker()
    yield made
    made.close()


@pytest.fixture
def uniform():
    """Chance that repeats itself."""
    return random.Random(6).uniform


@pytest.fixture
async def sink():
    async with http_sink() as made:
        yield made


@pytest.fixture
async def far_grpc():
    async with grpc_sink() as made:
        yield made
