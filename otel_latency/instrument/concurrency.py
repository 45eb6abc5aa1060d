"""Many segments at once, under a bound: order kept, failures beside successes, waits shown as what they are.

    results = await latency.gather_bounded(summarise, segments, limit=5)
    results.successes, results.failures

A segment that has to wait for a slot has a span `queue` of its own for that, beside the spans of its work. With an
`AdaptiveLimit` the bound follows the latency that is measured.

Cost: about 20 us a segment; memory for one result each, and tasks only for the segments that run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar, overload

from otel_latency.instrument.failures import classify
from otel_latency.instrument.guard import guard
from otel_latency.instrument.invoke import invoke
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.tracker import current_tracker

Item = TypeVar("Item")
T = TypeVar("T")

LIMIT: Final = 5
BACK_OFF: Final = 0.75


class Gathered(list[T | BaseException]):
    """The results in the order of the items; the exception where an item failed."""

    @property
    def successes(self) -> list[T]:
        return [each for each in self if not isinstance(each, BaseException)]

    @property
    def failures(self) -> dict[int, BaseException]:
        """By the index of the item."""
        return {index: each for index, each in enumerate(self) if isinstance(each, BaseException)}


class AdaptiveLimit:
    """A bound that holds a target latency: one more slot per round of calls in time, a quarter fewer when one is late.

    Share one between the `gather_bounded` of one provider, so that what it has learnt stays.
    """

    def __init__(self, target: float, *, start: int = LIMIT, least: int = 1, most: int = 64) -> None:
        if not (target > 0 and 1 <= least <= start <= most):
            raise ValueError(f"AdaptiveLimit: needs target > 0 and 1 <= least <= start <= most, not {target}, {start}")
        self.target = target
        self._limit = float(start)
        self._least = least
        self._most = most
        self._deaf = 0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def observe(self, seconds: float) -> None:
        """A call took *seconds*. The calls that were under way when the bound was lowered do not lower it again."""
        if self._deaf:
            self._deaf -= 1
        elif seconds > self.target:
            self._deaf = self.limit - 1
            self._limit = max(float(self._least), self._limit * BACK_OFF)
        else:
            self._limit = min(float(self._most), self._limit + 1 / self._limit)


@overload
async def gather_bounded(
    function: Callable[[Item], Awaitable[T]], items: Iterable[Item], *, limit: int | AdaptiveLimit = LIMIT
) -> Gathered[T]: ...
@overload
async def gather_bounded(
    function: Callable[[Item], T], items: Iterable[Item], *, limit: int | AdaptiveLimit = LIMIT
) -> Gathered[T]: ...
async def gather_bounded(
    function: Callable[[Item], object], items: Iterable[Item], *, limit: int | AdaptiveLimit = LIMIT
) -> Gathered[Any]:
    """`function(item)` for each of *items*, at most *limit* at a time; plain functions run in threads.

    When the caller is cancelled, so are all that run, and it returns after they have ended.
    """
    work = list(items)
    slots = _Slots(limit)
    results: Gathered[Any] = Gathered([_Unset()] * len(work))
    clock = asyncio.get_running_loop().time
    began = clock()

    async def one(index: int, item: Item, waited: float) -> None:
        try:
            if waited:
                _show_wait(waited)
            results[index] = await _one(function, item, slots)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as tasks:
        for index, item in enumerate(work):
            had_to_wait = await slots.acquire()
            waited = clock() - began if had_to_wait else 0.0
            tasks.create_task(one(index, item, waited), name=f"gather_bounded:{index}")
    if (tracker := current_tracker.get()) is not None:
        tracker.offered(clock() - began, min(slots.limit, len(work)))
    return results


class _Unset(Exception):
    """In place of a result that has not come yet."""


class _Slots:
    """A semaphore whose bound may move."""

    def __init__(self, limit: int | AdaptiveLimit) -> None:
        if isinstance(limit, int) and limit < 1:
            raise ValueError(f"limit: {limit} would never let anything run: at least 1")
        self._limit = limit
        self._running = 0
        self._freed = asyncio.Event()

    @property
    def limit(self) -> int:
        return self._limit if isinstance(self._limit, int) else self._limit.limit

    def observe(self, seconds: float) -> None:
        if isinstance(self._limit, AdaptiveLimit):
            self._limit.observe(seconds)

    async def acquire(self) -> bool:
        """Whether there was a wait."""
        had_to_wait = False
        while self._running >= self.limit:
            had_to_wait = True
            self._freed.clear()
            await self._freed.wait()
        self._running += 1
        return had_to_wait

    def release(self) -> None:
        self._running -= 1
        self._freed.set()


async def _one(function: Callable[[Item], object], item: Item, slots: _Slots) -> T | BaseException:
    clock = asyncio.get_running_loop().time
    began = clock()
    failure: BaseException | None = None
    result: T | BaseException
    try:
        result = await invoke(function, item)
    except Exception as error:
        result = failure = error
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        result = failure = cancelled  # the function cancelled itself: a failure like others
    seconds = clock() - began
    slots.observe(seconds)
    if (tracker := current_tracker.get()) is not None:
        tracker.segment(seconds, ok=failure is None)
        if failure is not None:
            tracker.error(classify(failure, time.time()).category)
    return result


def _show_wait(seconds: float) -> None:
    """A span that has just ended."""
    try:
        now_ns = time.time_ns()
        runtime.tracer.start_span("queue", start_time=now_ns - round(seconds * 1e9)).end(now_ns)
    except Exception as fault:
        guard.caught("queue", fault)
