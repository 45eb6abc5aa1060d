"""What all of insight costs beyond counting: turns, sessions, prices, forecasts, history, as the agent runs them.

A million spans of voice turns, 2,000 a second of simulated time with the agent's ticks, go through ingest's aggregator
alone and through all of it. CPU times are those of the whole process, with the history's thread and its writing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from bench.report import Figure, run
from bench.turns import RATE, START_NS, TICK, batches, voice

from otel_latency.agent_insight import Insight
from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.samples import SampleTable
from otel_latency.config.sections import Config
from otel_latency.records import SpanRow

BAR_US = 25.0
TICK_BAR_MS = 25.0
MEMORY_BAR_MIB = 96.0
CHUNK = 40
"""Ticks whose spans are made before they are timed."""


class Simulated:
    """A clock that stands still between ticks."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def time(self) -> float:
        return START_NS / 1e9 + self.elapsed

    def monotonic(self) -> float:
        return self.elapsed


def at(rows: list[SpanRow], now: float) -> list[SpanRow]:
    """The same, ended by *now* (Unix seconds)."""
    shift = int(now * 1e9) - max(row[5] for row in rows)
    return [(*row[:4], row[4] + shift, row[5] + shift, row[6]) for row in rows]


class Pass:
    """A run of all spans: CPU seconds of the process, and of the longest tick."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest_tick = 0.0
        self.spans = 0


async def counting(operations: int) -> Pass:
    """The aggregator alone."""
    clock, aggregator, found = Simulated(), Aggregator(), Pass()
    for rows in ticks(operations, clock):
        begun = time.process_time()
        aggregator.add(aggregator.fresh(rows), clock.time())
        aggregator.fold(clock.time())
        found.seconds += time.process_time() - begun
        found.spans += len(rows)
    return found


async def understanding(operations: int, folder: Path) -> Pass:
    """All of it."""
    clock, aggregator, found = Simulated(), Aggregator(), Pass()
    insight = Insight(
        Config(),
        clock=clock,
        directory=folder,
        aggregator=aggregator,
        operations=Operations(),
        samples=SampleTable(),
    )
    await insight.start()
    for rows in ticks(operations, clock):
        begun = time.process_time()
        for start in range(0, len(rows), 100):
            insight.take(rows[start : start + 100])
        aggregator.fold(clock.time())
        ticking = time.thread_time()
        insight.tick(clock.time())
        found.longest_tick = max(found.longest_tick, time.thread_time() - ticking)
        await asyncio.sleep(0)
        await insight.history.written()
        found.seconds += time.process_time() - begun
        found.spans += len(rows)
    begun = time.process_time()
    await insight.close()
    found.seconds += time.process_time() - begun
    return found


def ticks(operations: int, clock: Simulated) -> Iterator[list[SpanRow]]:
    """The spans of each tick; the clock goes on by one."""
    waiting: list[list[SpanRow]] = []
    made = batches(voice, operations, round(RATE * TICK))
    while waiting := [rows for rows, _ in zip(made, range(CHUNK), strict=False) if rows]:
        for rows in waiting:
            clock.elapsed += TICK
            yield at(rows, clock.time())


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    gc.freeze()
    gc.set_threshold(20_000)
    alone = asyncio.run(counting(arguments.operations))
    before = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        whole = asyncio.run(understanding(arguments.operations, Path(folder)))
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    more = (whole.seconds / whole.spans - alone.seconds / alone.spans) * 1e6
    detail = f"{whole.spans:,} spans, {1e6 * alone.seconds / alone.spans:.2f} us to count one"
    yield Figure("turns, history and forecasts, per span", more, "us", BAR_US, detail)
    yield Figure("longest tick", 1000 * whole.longest_tick, "ms", TICK_BAR_MS)
    yield Figure("memory grown by", grown, "MiB", MEMORY_BAR_MIB)


if __name__ == "__main__":
    run(measure, __doc__, {"operations": (1_000_000, "spans of voice turns")})
