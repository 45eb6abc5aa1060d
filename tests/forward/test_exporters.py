"""Real clients, our receivers, the forwarder and a destination: what an exporter sent arrives, byte for byte."""

import asyncio

import pytest
from forward.conftest import MemoryLog
from ingest.test_exporters import GRPC, HTTP, SENDERS
from sink import REQUESTS

from otel_latency.config.sections import ForwardDestination
from otel_latency.forward.build import build
from otel_latency.ingest.admission import Admission
from otel_latency.ingest.grpc import GRPCReceiver
from otel_latency.ingest.http import HTTPReceiver
from otel_latency.ingest.intake import Outcome
from otel_latency.records import Signal


class Received:
    """An `Accept` that puts everything into the log."""

    def __init__(self):
        self.log = MemoryLog()
        self.bodies = []

    def __call__(self, signal, body, *, is_json, transport):
        self.bodies.append(body)
        self.log.append(body, signal, is_json=is_json)
        return Outcome()


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_every_byte(signal, way, sink, far_grpc, clock):
    """HTTP to gRPC and gRPC to HTTP: all that an SDK exports gets through unchanged, and can be read."""
    received = Received()
    kind, far = (HTTPReceiver, far_grpc) if way == "http" else (GRPCReceiver, sink)
    receiver = kind(received, admission=Admission(), port=0)
    await receiver.start()
    address = f"127.0.0.1:{receiver.port}"
    endpoint = f"{'grpc' if far is far_grpc else 'http'}://127.0.0.1:{far.port}"
    forwarder = build([ForwardDestination(endpoint=endpoint)], lambda _: received.log, clock)
    running = asyncio.create_task(forwarder.run())
    exporter = (
        HTTP[signal](endpoint=f"http://{address}/v1/{signal.value}")
        if way == "http"
        else GRPC[signal](endpoint=address, insecure=True)
    )
    await asyncio.to_thread(SENDERS[signal][0], exporter)
    await far.has(len(received.bodies))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await forwarder.close()
    await receiver.stop()
    assert sorted(received.bodies) == sorted(far.bodies)
    assert all(REQUESTS[signal].FromString(body).ListFields() for body in far.bodies)
