"""What it costs to forward: CPU time for a body of 512 spans, and what of it holds up the loop.

A batch goes from a log in memory through cutting, packing and a real HTTP connection to a server in another process
that does nothing but read. The bars: 0.3 ms to look for content, and 3 ms of CPU time in all, less than half of it on
the loop's thread. With content in every span, as instrumentations send it when asked to, 2 kB of it are cut.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

from bench.report import Figure, run
from forward.conftest import MemoryLog, credentials
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from payload import Batch

from otel_latency.clock import SystemClock
from otel_latency.forward import content
from otel_latency.forward.destination import Destination
from otel_latency.forward.http import HTTPTransport
from otel_latency.forward.packing import Packing
from otel_latency.forward.redact import PythonRedactor, redactor
from otel_latency.forward.worker import Worker
from otel_latency.records import Signal

SERVER = """
import asyncio

ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/x-protobuf\\r\\nContent-Length: 0\\r\\n\\r\\n"

async def serve(reader, writer):
    while not reader.at_eof():
        try:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
        except asyncio.IncompleteReadError:
            break
        length = next(int(line[15:]) for line in head.split(b"\\r\\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(ANSWER)
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def with_content(body: bytes) -> bytes:
    request = ExportTraceServiceRequest.FromString(body)
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.attributes.add(key="gen_ai.input.messages").value.string_value = "What about my order? " * 50
        span.attributes.add(key="gen_ai.output.messages").value.string_value = "It is on its way. " * 50
    return request.SerializeToString()


def milliseconds(work, rounds: int) -> float:
    """The median CPU time of *work*."""
    costs = []
    for _ in range(rounds + 1):
        begun = time.thread_time_ns()
        work()
        costs.append(time.thread_time_ns() - begun)
    return median(costs[1:]) * 1e-6


async def forwarded(port: int, bodies: list[bytes]) -> tuple[float, float]:
    """Milliseconds of CPU time per body: of the process, and of the loop's thread."""
    clock, worker, log = SystemClock(), Worker(), MemoryLog()
    transport = HTTPTransport(f"http://127.0.0.1:{port}", credentials(), worker, clock)
    packing = Packing(content.denied(), is_gzip=True, takes_json=True)
    destination = Destination("bench", "", source=log, transport=transport, packing=packing, worker=worker, clock=clock)
    task = asyncio.create_task(destination.run())
    await settled(log, bodies[:5])
    begun, begun_here = time.process_time_ns(), time.thread_time_ns()
    await settled(log, bodies[5:])
    count = len(bodies) - 5
    spent = (time.process_time_ns() - begun) / count, (time.thread_time_ns() - begun_here) / count
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await destination.close()
    worker.close()
    return spent[0] * 1e-6, spent[1] * 1e-6


async def settled(log: MemoryLog, bodies: list[bytes]) -> None:
    for body in bodies:
        position = log.append(body, items=512)
        while log.committed < position:
            await asyncio.sleep(0.001)


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    body = Batch().fresh(time.time_ns())
    full = with_content(body)
    for name, cutter in (("compiled", redactor(content.denied())), ("in Python", PythonRedactor(content.denied()))):
        is_compiled = name == "compiled"
        rounds = arguments.rounds if is_compiled else 5
        for what, given in (("without content", body), ("with 2 kB in each span", full)):
            spent = milliseconds(lambda cutter=cutter, given=given: cutter.redact(given, Signal.TRACES), rounds)
            yield Figure(f"cut, {name}, {what}", spent, "ms", bar=0.3 if is_compiled and given is body else None)
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        batch = Batch(2)
        bodies = [batch.fresh(time.time_ns()) for _ in range(arguments.rounds)]
        total, here = asyncio.run(forwarded(port, bodies))
        yield Figure("forward 512 spans, CPU time", total, "ms", bar=3.0)
        yield Figure("of it on the loop", here, "ms", bar=1.5)
        total, _ = asyncio.run(forwarded(port, [with_content(each) for each in bodies]))
        yield Figure("forward 512 spans with content, CPU time", total, "ms")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (60, "bodies of each kind")})
