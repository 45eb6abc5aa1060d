"""The fakes that users get as well."""

import asyncio

import pytest

from otel_latency.clock import Tick
from otel_latency.testing import FakeClock

START = 1_700_000_000.0


async def record(clock, interval, seen):
    async for tick in clock.ticks(interval):
        seen.append((clock.monotonic(), tick))


@pytest.fixture
async def tasks():
    """A function that starts a coroutine and lets it go when the test is over."""
    started = []
    yield lambda coroutine: started.append(asyncio.create_task(coroutine))
    for task in started:
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_advance_fires_each_tick_at_its_time(tasks):
    """Three seconds hold three ticks of a second, each on the grid and with the wall time of its moment."""
    clock, seen = FakeClock(START), []
    tasks(record(clock, 1.0, seen))
    await clock.advance(3.5)
    assert seen == [(second, Tick(START + second, 0.0, 0)) for second in (1.0, 2.0, 3.0)]
    assert (3.5, START + 3.5) == (clock.monotonic(), clock.time())


async def test_ticks_of_several_loops_interleave(tasks):
    """Loops with different intervals fire in the order of their times."""
    clock, order = FakeClock(), []

    async def loop(name, interval):
        async for _ in clock.ticks(interval):
            order.append(name)

    tasks(loop("slow", 0.5))
    tasks(loop("fast", 0.2))
    await clock.advance(1.0)
    # 0.2 0.4 0.5 0.6 0.8 1.0; at the same moment, the loop that began to wait first comes first
    assert order == ["fast", "fast", "slow", "fast", "fast", "slow", "fast"]


async def test_small_steps_add_up(tasks):
    """Ten steps of 0.1 s reach a tick at one second exactly."""
    clock, seen = FakeClock(), []
    tasks(record(clock, 1.0, seen))
    for _ in range(10):
        await clock.advance(0.1)
    assert [1.0] == [when for when, _ in seen]


async def test_a_busy_loop_gets_one_folded_tick(tasks):
    """What fell due while the loop worked comes as one late tick; the grid stays where it was."""
    clock, seen, free = FakeClock(), [], asyncio.Event()

    async def busy():
        async for tick in clock.ticks(1.0):
            seen.append((clock.monotonic(), tick.lateness, tick.folded))
            await free.wait()

    tasks(busy())
    await clock.advance(4.5)
    free.set()
    await clock.advance(0.5)
    assert [(1.0, 0.0, 0), (4.5, 2.5, 2), (5.0, 0.0, 0)] == seen


async def test_a_cancelled_loop_is_forgotten(tasks):
    """A loop that was cancelled while it waited does not disturb the others."""
    clock, seen = FakeClock(), []
    cancelled = asyncio.create_task(record(clock, 1.0, []))
    tasks(record(clock, 1.0, seen))
    await clock.advance(0.5)
    cancelled.cancel()
    await clock.advance(1.0)
    assert [1.0] == [when for when, _ in seen]


async def test_step_moves_the_wall_clock_alone(tasks):
    """A correction of the wall clock changes neither the monotonic clock nor the grid."""
    clock, seen = FakeClock(START), []
    tasks(record(clock, 1.0, seen))
    clock.step(-3600.0)
    await clock.advance(1.0)
    assert [(1.0, Tick(START - 3599.0, 0.0, 0))] == seen
