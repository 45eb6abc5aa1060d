"""Who may send now. While the destination is up, four at once; while it is down, the oldest alone, to try.

After a failure nobody begins. When the others in flight have ended, and the delay is over, the oldest is let through:
the probe. What becomes of it decides whether the destination is up. The delay is chance between nothing and 1 s, then
2, 4, ... 30 s, so that many agents do not come back at once; after a failure to agree on certificates 15 to 30 s. Where
the far side says when to come back, that counts if it is later.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from otel_latency.clock import Clock
from otel_latency.errors import ForwardError

LIMIT: Final = 4
MAX_DELAY: Final = 30.0


class Gate:
    """Each `turn` is followed by one `left`. *uniform* is the chance: (low, high) -> a number between."""

    def __init__(self, clock: Clock, *, uniform: Callable[[float, float], float]) -> None:
        self.is_up = True
        self.in_flight = 0
        self.retry_at: float | None = None
        """When the probe may go (monotonic); None while up, and while others are in flight."""
        self._clock = clock
        self._uniform = uniform
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._failures = 0  # in a row
        self._not_before = 0.0
        self._is_about_tls = False
        self._timer: asyncio.Task[None] | None = None
        self._is_closed = False

    async def turn(self, order: int) -> None:
        """Return when the one with this *order* may send: the lowest goes first. No two have the same."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (order, waiter))
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.left(None, was_answered=False)
            raise

    def left(self, error: ForwardError | None, *, was_answered: bool = True) -> None:
        """Whoever had the turn is done; *error* is a transient failure."""
        self.in_flight -= 1
        if error is not None:
            self.is_up = False
            self._is_about_tls = error.is_about_tls
            self._not_before = max(self._not_before, self._clock.monotonic() + (error.retry_after or 0.0))
        elif was_answered and self.retry_at is not None:
            self._open()
        if not self.is_up and not self.in_flight:
            self._shut()
        self._admit()

    def close(self) -> None:
        """Nobody is let through any more; whoever waits is cancelled."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for _, waiter in self._waiting:
            waiter.cancel()

    def _open(self) -> None:
        self.is_up, self.retry_at, self._failures = True, None, 0

    def _shut(self) -> None:
        self._failures += 1
        now = self._clock.monotonic()
        wait = max(self._delay(), self._not_before - now)
        self.retry_at = now + wait
        self._timer = asyncio.create_task(self._wait(wait), name="forward:delay")

    def _delay(self) -> float:
        if self._is_about_tls:
            return self._uniform(MAX_DELAY / 2, MAX_DELAY)
        return self._uniform(0.0, min(2.0 ** min(self._failures - 1, 10), MAX_DELAY))

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            await anext(self._clock.ticks(seconds))
        self._timer = None
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._may_begin():
            _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    def _may_begin(self) -> bool:
        if self._is_closed:
            return False
        if self.is_up:
            return self.in_flight < LIMIT
        return not self.in_flight and self._timer is None
