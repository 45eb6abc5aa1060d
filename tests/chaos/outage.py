"""An hour without the destination, ten times as fast: as many spans wait as would at a tenth of the rate.

    python -m tests.chaos.outage [--seconds 360] [--spans-per-second 2000] [--before 60]

The destination is well, then gone, then back, and producers go on throughout. Asserted: nothing is lost, the log never
takes more than its cap, all that waited is delivered in 10 minutes, requests are acknowledged within 50 ms (p99), and
what is live is seen as soon as before, give or take a fifth: from the end of a span, which its exporter holds back for
up to 200 ms, as in `bench freshness`. What of that is the agent's is told beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.oracle import (
    FarSide,
    Ledger,
    Requests,
    accounted,
    drained,
    far_side,
    p99,
    produce,
    short_call,
    size_of,
    started,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from payload import Batch
from running import PROTOBUF, RunningAgent

MAX_ACK = 0.050
MAX_DRAIN = 600.0
MAX_SLOWER = 1.2
LOG_BYTES = 64 << 20
PRODUCERS = 2
SPANS = 512
LOOK_EVERY = 0.01
EXPORT_EVERY = 0.2
"""Seconds between two exports of an SDK for a live view."""
PROBE = b"otel_latency_stage_duration_seconds_count{"


def probe(span: Span, _rng: random.Random) -> None:
    span.name = "probe"
    span.attributes.add(key="pipeline.stage").value.string_value = "probe"


class Freshness(threading.Thread):
    """Sends one span after the other; notes how old it was when /metrics counted it, and how long ago it was sent."""

    def __init__(self, agent: RunningAgent, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self.ages: list[float] = []
        self.waits: list[float] = []
        self._agent = agent
        self._ledger = ledger
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.join(20)

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._agent.web_port, timeout=10)
        batch, rng = Batch(time.time_ns(), 1, probe), random.Random(1)
        number = self._counted(connection)
        while not self._stopping.wait(rng.uniform(0.05, 0.3)):
            body, held_back = batch.fresh(time.time_ns(), within_ns=1), rng.uniform(0.0, EXPORT_EVERY)
            time.sleep(held_back)
            name = self._ledger.owes(body, 1)
            self._ledger.attempts[name] += 1
            begun = time.monotonic()
            assert self._agent.post(body, PROTOBUF)[0] == 200
            self._ledger.acknowledged.add(name)
            number += 1
            while self._counted(connection) < number:
                time.sleep(LOOK_EVERY)
            self.waits.append(time.monotonic() - begun)
            self.ages.append(held_back + self.waits[-1])

    def _counted(self, connection: HTTPConnection) -> int:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read()
        return sum(
            int(line.split()[-1]) for line in page.splitlines() if line.startswith(PROBE) and b'stage="probe"' in line
        )


@dataclass
class Phase:
    """What was measured while it lasted."""

    name: str
    fresh: float
    wait: float
    ack: float
    log_bytes: int
    memory: float

    def __str__(self) -> str:
        return (
            f"{self.name}: visible within {1e3 * self.fresh:.0f} ms (p99), {1e3 * self.wait:.0f} ms after it was sent; "
            f"acknowledged within {1e3 * self.ack:.1f} ms (p99), log at most {self.log_bytes / 2**20:.1f} MiB, "
            f"{self.memory:.0f} MiB resident"
        )


class Observer:
    """Measures one phase after the other."""

    def __init__(self, agent: RunningAgent, ledger: Ledger, folder: Path) -> None:
        self._agent = agent
        self._ledger = ledger
        self._folder = folder
        self.phases: list[Phase] = []

    @asynccontextmanager
    async def phase(self, name: str):
        freshness, begun, most = Freshness(self._agent, self._ledger), len(self._ledger.seconds), 0
        freshness.start()

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, size_of(self._folder))
                await asyncio.sleep(0.5)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.to_thread(freshness.stop)
        acks = self._ledger.seconds[begun:]
        fresh, wait = p99(freshness.ages), p99(freshness.waits)
        self.phases.append(Phase(name, fresh, wait, p99(acks), most, self._agent.memory()))
        print(self.phases[-1], f"({len(freshness.waits)} probes, {len(acks)} requests)", flush=True)


async def outage(folder: Path, *, before: float, seconds: float, spans_per_second: float) -> str:
    """The verdict. AssertionError where a bar is missed."""
    ledger = Ledger()
    async with far_side(ledger) as far:
        config = json.dumps({"forward": [{"name": "far", "endpoint": f"http://127.0.0.1:{far.port}"}]})
        async with started(files={"otel-latency.yaml": config}, directory=folder) as agent:
            observer = Observer(agent, ledger, folder)
            until, pause = asyncio.Event(), PRODUCERS * SPANS / spans_per_second
            async with asyncio.TaskGroup() as tasks:
                for number in range(PRODUCERS):
                    requests = Requests(number, SPANS, short_call, short_call)
                    tasks.create_task(produce(lambda: agent, ledger, requests, pause, until))
                drain = await _through(observer, far, agent, before=before, seconds=seconds)
                until.set()
            await drained(agent, "far", within=10.0)
            counts = accounted(await asyncio.to_thread(agent.metrics), "far")
            copies = json.loads((await asyncio.to_thread(agent.get, "/status"))[1])["forward"][0]["maybe_duplicate"]
    return _judge(observer.phases, f"{far.verdict(copies)}; {counts}; drained in {drain:.0f} s", drain)


async def _through(observer: Observer, far: FarSide, agent: RunningAgent, *, before: float, seconds: float) -> float:
    """How long it took to deliver what had waited, while more came."""
    await asyncio.sleep(5)
    async with observer.phase("well"):
        await asyncio.sleep(before)
    async with observer.phase("gone"):
        await far.leave()
        await asyncio.sleep(seconds)
    async with observer.phase("back"):
        await far.come()
        return await _caught_up(agent)


async def _caught_up(agent: RunningAgent) -> float:
    """Seconds until nothing has waited for longer than a second."""
    begun = time.monotonic()
    while True:
        (told,) = json.loads((await asyncio.to_thread(agent.get, "/status"))[1])["forward"]
        if told["is_up"] and told["oldest_seconds"] < 1.0:
            return time.monotonic() - begun
        assert time.monotonic() < begun + MAX_DRAIN, told
        await asyncio.sleep(0.25)


def _judge(phases: list[Phase], verdict: str, drain: float) -> str:
    well, gone, back = phases
    slower = gone.fresh / well.fresh, back.fresh / well.fresh
    found = f"{verdict}; freshness p99 {slower[0]:.2f} and {slower[1]:.2f} of before"
    assert drain <= MAX_DRAIN, found
    assert max(phase.log_bytes for phase in phases) <= LOG_BYTES, found
    assert max(phase.ack for phase in phases) <= MAX_ACK, found
    assert max(slower) <= MAX_SLOWER, found
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=360.0)
    parser.add_argument("--spans-per-second", type=float, default=2_000.0)
    parser.add_argument("--before", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            asyncio.run(
                outage(
                    Path(folder),
                    before=arguments.before,
                    seconds=arguments.seconds,
                    spans_per_second=arguments.spans_per_second,
                )
            )
        )


if __name__ == "__main__":
    main()
