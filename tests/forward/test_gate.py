import asyncio

import pytest

from otel_latency.errors import ForwardError
from otel_latency.forward.gate import LIMIT, Gate
from otel_latency.testing import FakeClock


def longest(_low, high):
    return high


def failure(retry_after=None, *, is_about_tls=False):
    return ForwardError("x", reason="x", is_transient=True, retry_after=retry_after, is_about_tls=is_about_tls)


class Queue:
    """Those who wait at a gate, and those let through, in order."""

    def __init__(self, uniform=longest):
        self.clock = FakeClock()
        self.gate = Gate(self.clock, uniform=uniform)
        self.through = []
        self.tasks = []

    async def ask(self, *orders):
        async def wait(order):
            await self.gate.turn(order)
            self.through.append(order)

        self.tasks += [asyncio.create_task(wait(order)) for order in orders]
        await self.clock.advance(0)

    async def fail(self, retry_after=None, **about):
        self.gate.left(failure(retry_after, **about))
        await self.clock.advance(0)


@pytest.fixture
async def queue():
    made = Queue()
    yield made
    made.gate.close()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_four_at_once(queue):
    """While the destination is up, four are under way, and the next when one of them is done."""
    await queue.ask(1, 2, 3, 4, 5)
    assert (LIMIT, [1, 2, 3, 4]) == (queue.gate.in_flight, queue.through)
    queue.gate.left(None)
    await queue.clock.advance(0)
    assert [1, 2, 3, 4, 5] == queue.through


async def test_probe(queue):
    """After a failure nobody goes until the others have ended and the delay is over; then the oldest goes, alone."""
    await queue.ask(1, 2, 3)
    await queue.fail()
    await queue.ask(1, 4)
    queue.gate.left(None)
    await queue.clock.advance(100)
    assert ([1, 2, 3], False, None) == (queue.through, queue.gate.is_up, queue.gate.retry_at)
    queue.gate.left(None)
    await queue.clock.advance(0.9)
    assert [1, 2, 3] == queue.through
    await queue.clock.advance(0.2)
    assert ([1, 2, 3, 1], 1, False) == (queue.through, queue.gate.in_flight, queue.gate.is_up)
    queue.gate.left(None)
    await queue.clock.advance(0)
    assert ([1, 2, 3, 1, 4], True) == (queue.through, queue.gate.is_up)


async def test_delays(queue):
    """The bound of the chance doubles from 1 s to 30 s, and begins anew once the destination was up."""
    waits = []
    await queue.ask(1)
    for _ in range(7):
        await queue.fail()
        waits.append(queue.gate.retry_at - queue.clock.monotonic())
        await queue.ask(1)
        await queue.clock.advance(waits[-1])
    queue.gate.left(None)
    await queue.ask(2)
    await queue.fail()
    assert [1, 2, 4, 8, 16, 30, 30] == waits
    assert 1 == queue.gate.retry_at - queue.clock.monotonic()


async def test_full_jitter():
    """The delay may be anything between nothing and its bound; about certificates it is 15 s at least."""
    asked = []
    queue = Queue(lambda low, high: asked.append((low, high)) or low)
    await queue.ask(1)
    await queue.fail()
    await queue.ask(1)
    await queue.fail(is_about_tls=True)
    assert [(0, 1), (15, 30)] == asked
    assert [1, 1] == queue.through
    queue.gate.close()


async def test_retry_after(queue):
    """What the far side asks for counts from its answer, where it is longer than the delay."""
    await queue.ask(1, 2)
    await queue.fail(20)
    await queue.clock.advance(5)
    await queue.fail(3)
    await queue.ask(1)
    assert 15 == queue.gate.retry_at - queue.clock.monotonic()
    await queue.clock.advance(14.9)
    assert [1, 2] == queue.through
    await queue.clock.advance(0.1)
    assert [1, 2, 1] == queue.through


async def test_cancelled(queue):
    """Who gives up waiting takes no turn, also when it had just been given."""
    await queue.ask(1, 2, 3, 4, 5, 6)
    queue.tasks[4].cancel()
    queue.gate.left(None)
    queue.tasks[5].cancel()
    await queue.clock.advance(0)
    assert ([1, 2, 3, 4], 3) == (queue.through, queue.gate.in_flight)


async def test_closed(queue):
    """A closed gate lets nobody through, and cancels who waits; those in flight may still leave."""
    await queue.ask(1)
    await queue.fail()
    await queue.ask(2)
    queue.gate.close()
    await queue.clock.advance(100)
    assert ([1], True) == (queue.through, queue.tasks[1].cancelled())
