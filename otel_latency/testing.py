"""Stand-ins for tests, yours and ours: time that moves only when told to.

    clock = FakeClock()
    task = asyncio.create_task(my_loop(clock))      # async for tick in clock.ticks(1.0): ...
    await clock.advance(3)                          # my_loop saw three ticks; no real time passed

    with capture_spans() as spans:                  # what turns, stages and LLM calls would have sent
        answer("why?")
    assert spans[-1].name == "answer"

Nothing here sleeps, patches a module or starts a thread.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_latency.clock import Tick

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_NS: Final = 1_000_000_000
_SETTLE: Final = 32
"""How often the loop is let run after a tick: enough for a chain of that many awaits."""


class _Waiter(NamedTuple):
    when_ns: int
    order: int
    reached: asyncio.Future[None]


class FakeClock:
    """A `clock.Clock` for tests. It starts at the Unix time *now* and stands still until `advance`.

    Time is kept in whole nanoseconds, so ten steps of 0.1 s reach a tick at 1 s exactly.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._monotonic_ns = 0
        self._wall_offset_ns = round(now * _NS)
        self._waiters: list[_Waiter] = []
        self._order = 0

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return (self._monotonic_ns + self._wall_offset_ns) / _NS

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._monotonic_ns / _NS

    async def ticks(self, interval: float) -> AsyncIterator[Tick]:
        """Fire at every multiple of *interval* after the first wait, as `SystemClock.ticks` does.

        A consumer that is busy while time advances gets its missed ticks folded into one late tick.
        """
        interval_ns = round(interval * _NS)
        start_ns = self._monotonic_ns
        index = 0
        while True:
            index += 1
            await self._until(start_ns + index * interval_ns)
            late_ns = self._monotonic_ns - (start_ns + index * interval_ns)
            folded = late_ns // interval_ns
            index += folded
            yield Tick(self.time(), late_ns / _NS, folded)

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass. Ticks that fall due fire in the order of their times, each at its own time.

        After each firing the loop runs until plain awaits have settled. Work that goes through a thread or a socket
        is not waited for: wait for its effect (an event, a queue) before the next `advance`.
        """
        end_ns = self._monotonic_ns + round(seconds * _NS)
        await _settle()
        while self._waiters and self._waiters[0].when_ns <= end_ns:
            self._monotonic_ns = max(self._monotonic_ns, self._waiters[0].when_ns)
            self._fire()
            await _settle()
        self._monotonic_ns = end_ns

    def step(self, seconds: float) -> None:
        """Move the wall clock alone, forth or back, as a correction by NTP does."""
        self._wall_offset_ns += round(seconds * _NS)

    async def _until(self, when_ns: int) -> None:
        if when_ns <= self._monotonic_ns:
            return
        self._order += 1
        waiter = _Waiter(when_ns, self._order, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiters, waiter)
        await waiter.reached

    def _fire(self) -> None:
        """Wake whoever waits for this moment, in the order of asking."""
        while self._waiters and self._waiters[0].when_ns <= self._monotonic_ns:
            reached = heapq.heappop(self._waiters).reached
            if not reached.done():
                reached.set_result(None)


async def _settle() -> None:
    for _ in range(_SETTLE):
        await asyncio.sleep(0)


@contextmanager
def capture_spans() -> Iterator[list[ReadableSpan]]:
    """Record what `turn`, `stage` and `llm_call` do, instead of sending it: a list that grows as spans end.

    A span of an application's own TracerProvider is not among them.
    """
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from otel_latency import semconv
    from otel_latency.instrument.runtime import runtime

    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    before, runtime.tracer = runtime.tracer, provider.get_tracer(semconv.SCOPE)
    try:
        yield ended
    finally:
        runtime.tracer = before
