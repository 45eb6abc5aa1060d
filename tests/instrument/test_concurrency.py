"""Many at once under a bound: order, failures, cancellation and waits."""

import asyncio
import threading

import pytest
from instrument.virtual import in_virtual_time

from otel_latency.instrument.concurrency import AdaptiveLimit, gather_bounded
from otel_latency.instrument.stage import stage
from otel_latency.instrument.tracker import PerformanceTracker


class Gauge:
    """Sleeps as told and notes how many did so at once."""

    def __init__(self):
        self.now = self.most = 0

    async def __call__(self, seconds):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now -= 1
        if seconds == 13:
            raise ValueError(seconds)
        return seconds


@in_virtual_time
async def test_order_and_bound():
    """Results come in the order of the items, and no more run at once than allowed."""
    gauge = Gauge()
    items = [5, 1, 4, 2, 3] * 4
    assert (items, 3, 0) == (await gather_bounded(gauge, items, limit=3), gauge.most, gauge.now)
    assert asyncio.get_running_loop().time() < 25


@in_virtual_time
async def test_failures_beside_successes():
    """A failure stands in its item's place, and disturbs no other."""
    results = await gather_bounded(Gauge(), [1, 13, 2, 13])
    assert ([1, 2], [1, 3], True) == (
        results.successes,
        list(results.failures),
        all(isinstance(each, ValueError) for each in results.failures.values()),
    )


@in_virtual_time
async def test_cancelled():
    """Cancelled, it cancels all that run, starts no more, and returns after they have ended."""
    gauge = Gauge()
    task = asyncio.create_task(gather_bounded(gauge, [10] * 9, limit=3))
    await asyncio.sleep(15)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (0, 3, 15.0) == (gauge.now, gauge.most, asyncio.get_running_loop().time())


@in_virtual_time
async def test_function_that_cancels_itself():
    """A cancellation that nobody asked for is a failure of its item."""

    async def give_up(item):
        raise asyncio.CancelledError

    results = await gather_bounded(give_up, [1, 2])
    assert [asyncio.CancelledError] * 2 == [type(each) for each in results]


def test_exits():
    """An exit is no failure of an item: it ends the program."""

    async def leave(item):
        raise SystemExit(3)

    def program():
        with asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(lambda *_: None)  # asyncio complains of the exit that it passes on
            runner.run(gather_bounded(leave, [1, 2]))

    with pytest.raises(SystemExit):
        program()


@in_virtual_time
async def test_queue_is_a_stage(spans):
    """Who had to wait has a span for that, beside and not inside that of the work."""

    @stage("work")
    async def work(item):
        await asyncio.sleep(1)

    with stage("all"):
        await gather_bounded(work, range(3), limit=2)
    *inner, outer = spans
    assert ["queue", "work", "work", "work"] == sorted(span.name for span in inner)
    assert {outer.context.span_id} == {span.parent.span_id for span in inner}


async def test_plain_functions():
    """They run in threads beside each other: each waits for the other to have begun."""
    barrier = threading.Barrier(2)

    def meet(item):
        barrier.wait(10)
        return item

    assert [1, 2] == await gather_bounded(meet, [1, 2], limit=2)


@in_virtual_time
async def test_nothing_to_do():
    """No items, no results."""
    assert [] == await gather_bounded(Gauge(), [])


async def test_nonsense():
    """A bound of zero is refused instead of waiting for ever."""
    with pytest.raises(ValueError, match="limit: 0 would never let anything run"):
        await gather_bounded(Gauge(), [1], limit=0)


@in_virtual_time
async def test_tracked():
    """The tracker hears of segments and failures, and how well the slots were used."""
    with PerformanceTracker() as tracker:
        await gather_bounded(Gauge(), [3, 1, 1, 1], limit=2)
        await gather_bounded(fail, [1])
    stats = tracker.stats()
    assert (4, 1, {"processing": 1}) == (stats.segments_processed, stats.segments_failed, stats.errors)
    assert (1.0, 2.0) == (stats.concurrent_efficiency, stats.speedup)


async def fail(item):
    raise ValueError(item)


def server(capacity, base):
    """A model host that serves *capacity* at once in *base* seconds, and more of them proportionally slower."""
    running = 0

    async def call(item):
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(base * max(1.0, running / capacity))
        finally:
            running -= 1

    return call


@pytest.mark.parametrize(("target", "low", "high"), [(1.5, 8, 20), (3.0, 18, 40)])
@in_virtual_time
async def test_adaptive(target, low, high):
    """The bound settles around what the target latency allows: 10 are served in 1 s, so 15 in 1.5 s and 30 in 3 s."""
    limit = AdaptiveLimit(target, start=2)
    await gather_bounded(server(10, 1.0), range(600), limit=limit)
    settled = []
    for _ in range(20):
        await gather_bounded(server(10, 1.0), range(50), limit=limit)
        settled.append(limit.limit)
    assert low <= sum(settled) / len(settled) <= high


def test_adaptive_bounds():
    """It leaves neither end of its range, and calls of one overload count once."""
    limit = AdaptiveLimit(1.0, start=8, least=2, most=9)
    for _ in range(100):
        limit.observe(0.1)
    assert 9 == limit.limit
    for _ in range(9):
        limit.observe(5.0)
    assert 6 == limit.limit
    for _ in range(100):
        limit.observe(5.0)
    assert 2 == limit.limit
