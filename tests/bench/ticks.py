"""Ticks of an agent that is saturated with 512-span requests.

The agent runs in this process, so that its ticks and windows can be looked into; the client is a process on another
core, and sends the next request on each of its four connections when the last was answered. Every span ended within
the last 250 ms, and none comes twice.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure, run
from load import Sent, load_from_beside
from running import ANY_PORT, cpu_seconds, environment, pin

from otel_latency.agent import TICK, Agent
from otel_latency.aggregate.aggregator import STAGE_DURATION
from otel_latency.aggregate.windows import AGGREGATE, REAL_TIME, SYSTEM, Resolution
from otel_latency.clock import SystemClock, Tick
from otel_latency.config.load import load as load_config
from otel_latency.sketch import nearest_rank


class NotingClock(SystemClock):
    """The system's clock, with a record of the agent's ticks."""

    def __init__(self) -> None:
        self.noted: list[Tick] = []

    async def ticks(self, interval: float) -> AsyncIterator[Tick]:
        async for tick in super().ticks(interval):
            if interval == TICK:
                self.noted.append(tick)
            yield tick


def in_windows(agent: Agent, resolution: Resolution) -> Counter[int]:
    """Spans by the window of a resolution that they ended in."""
    counts: Counter[int] = Counter()
    for entity in agent.aggregator._entities.values():
        if STAGE_DURATION in entity.latencies:
            for index, sketch in entity.latencies[STAGE_DURATION].windows.ring(resolution).items():
                counts[index] += sketch.count
    return counts


def torn_seconds(agent: Agent) -> int:
    """Seconds of the last 50 whose four 250 ms windows do not add up to the 1 s window."""
    quarters, seconds = in_windows(agent, REAL_TIME), in_windows(agent, SYSTEM)
    last = max(seconds)
    return sum(
        seconds[second] != sum(quarters[4 * second + quarter] for quarter in range(4))
        for second in range(last - 50, last + 1)
    )


async def saturated(agent: Agent, clock: NotingClock, seconds: float) -> tuple[Sent, float, float]:
    """What was sent, the CPU used per second, and the seconds between the first and the last tick noted."""
    running = asyncio.create_task(agent.run())
    await agent.started.wait()
    clock.noted.clear()
    begun, used = time.monotonic(), cpu_seconds(os.getpid())
    sent = await asyncio.to_thread(load_from_beside, agent.receivers["http"].port, seconds)
    elapsed, used = time.monotonic() - begun, cpu_seconds(os.getpid()) - used
    agent.aggregator.fold(clock.time())
    agent.stop()
    await running
    return sent, used / elapsed, elapsed


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    pin(os.getpid(), 0)
    clock = NotingClock()
    with TemporaryDirectory() as folder:
        agent = Agent(load_config(None, environment(ANY_PORT)), clock, Path(folder))
        sent, busy, elapsed = asyncio.run(saturated(agent, clock, arguments.seconds))
    lateness = sorted(tick.lateness for tick in clock.noted)
    p99 = lateness[nearest_rank(0.99, len(lateness)) - 1]
    worst = f"worst of {len(lateness)} {1000 * lateness[-1]:.1f} ms"
    busyness = f"core {busy:.0%} busy with {sent.requests / elapsed:.0f} requests a second"
    yield Figure("tick lateness, p99", 1000 * p99, "ms", 25.0, f"{worst}; {busyness}")
    fired = len(clock.noted) + sum(tick.folded for tick in clock.noted)
    yield Figure("ticks away from the grid", abs(fired - elapsed / TICK), bar=1.5, detail=f"{elapsed:.1f} s")
    for resolution in (SYSTEM, AGGREGATE):
        lost = sent.spans - in_windows(agent, resolution).total()
        yield Figure(f"spans missing from the {resolution.name} windows", abs(lost), bar=0, detail=f"of {sent.spans}")
    yield Figure("seconds that their 250 ms windows do not add up to", torn_seconds(agent), bar=0)


if __name__ == "__main__":
    run(measure, __doc__, {"seconds": (60.0, "how long to saturate")})
