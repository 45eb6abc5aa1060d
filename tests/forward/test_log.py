"""The real log as a source: what it holds is forwarded once it can be, over any number of restarts."""

import asyncio
from contextlib import asynccontextmanager

from forward.conftest import spans
from sink import status

from otel_latency.clock import SystemClock
from otel_latency.config.sections import ForwardDestination
from otel_latency.forward.batch import Batch
from otel_latency.forward.build import build, reader_name
from otel_latency.records import Signal
from otel_latency.wal.log import Log


class LogSource:
    """A reader of the log: a record's kind is the number of its signal."""

    def __init__(self, reader):
        self._reader = reader
        self.commit = reader.commit

    async def read(self, most_bytes):
        return [
            Batch(record.position, record.time_ns, list(Signal)[record.kind], False, record.items, record.body)
            for record in await self._reader.read(most_bytes)
        ]

    def __getattr__(self, name):
        return getattr(self._reader, name)


@asynccontextmanager
async def agent(folder, section):
    """One run: its log and its destination."""
    log = Log(folder, clock=SystemClock())
    await log.open({reader_name(section): None})
    forwarder = build([section], lambda name: LogSource(log.readers[name]), SystemClock())
    running = asyncio.create_task(forwarder.run())
    yield log, forwarder.destinations[0]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await forwarder.close()
    await log.close()


async def test_restarts(tmp_path, sink):
    """What one run could not deliver the next one does, under the same ids; nothing is missing."""
    section = ForwardDestination(endpoint=f"http://127.0.0.1:{sink.port}")
    sink.answers.append(status(503, Retry_After="300"))
    bodies = [spans(f"span {number}") for number in range(6)]
    async with agent(tmp_path, section) as (log, destination):
        await log.append(0, bodies[0], items=1)
        await sink.has(1)
        for body in bodies[1:4]:
            await log.append(0, body, items=1)
        assert (4, 1) == (destination.queued, len(sink.arrivals))
    async with agent(tmp_path, section) as (log, destination):
        for body in bodies[4:]:
            await log.append(0, body, items=1)
        await sink.has(1 + len(bodies))
        async with asyncio.timeout(5):
            while destination.queued:
                await asyncio.sleep(0)
    assert [bodies[0], *bodies] == sorted(sink.bodies, key=bodies.index)
    assert len(bodies) == len({arrival.batch_id for arrival in sink.arrivals})
    assert len(bodies) == destination.forwarded[Signal.TRACES]
