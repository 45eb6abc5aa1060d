"""Time as an argument: a wall clock, a monotonic clock and ticks on a fixed grid.

Durations and waits use the monotonic clock, timestamps the wall clock. Ticks lie at `start + k * interval`
of the monotonic clock, so a slow tick never shifts the next one; ticks that were missed while the loop was
busy are folded into the next and counted in `Tick.folded`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol


class Tick(NamedTuple):
    """One firing: wall time, seconds after its grid point, and the grid points skipped before it."""

    now: float
    lateness: float
    folded: int


class Clock(Protocol):
    """What a component may ask about time. `otel_latency.testing.FakeClock` is the other implementation."""

    def time(self) -> float:
        """Seconds since the Unix epoch; may step."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def ticks(self, interval: float) -> AsyncIterator[Tick]:
        """Fire once per `interval` seconds for ever, on a grid that does not drift."""


class SystemClock:
    """The machine's clocks."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def ticks(self, interval: float) -> AsyncIterator[Tick]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        index = 0
        while True:
            index += 1
            await _until(loop, start + index * interval)
            lateness = loop.time() - (start + index * interval)
            folded = int(lateness // interval)
            index += folded
            yield Tick(time.time(), lateness, folded)


async def _until(loop: asyncio.AbstractEventLoop, when: float) -> None:
    """Return at the loop time *when*; `call_at` keeps to the grid where `sleep` would add its own lateness."""
    reached: asyncio.Future[None] = loop.create_future()
    handle = loop.call_at(when, _set, reached)
    try:
        await reached
    finally:
        handle.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
