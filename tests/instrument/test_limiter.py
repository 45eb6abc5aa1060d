"""A provider's limits hold in any minute, not only on average."""

import asyncio
import random

import pytest
from instrument.virtual import in_virtual_time

from otel_latency.instrument.limiter import RateLimiter


class Now:
    """A monotonic clock to be set."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def limiter(**limits):
    clock = Now()
    return RateLimiter(**limits, monotonic=clock), clock


def test_requests():
    """Three a minute: the fourth begins when the first is a minute old."""
    limits, clock = limiter(requests_per_minute=3)
    starts = []
    for clock.now in (0.0, 10.0, 20.0, 30.0, 30.0):
        starts.append(limits.reserve().start)
    assert [0.0, 10.0, 20.0, 60.0, 70.0] == starts


def test_tokens():
    """A call waits until enough tokens have left the window; the small one behind it does not overtake."""
    limits, clock = limiter(tokens_per_minute=100)
    starts = []
    for clock.now, tokens in ((0.0, 60), (5.0, 30), (10.0, 50), (11.0, 5)):
        starts.append(limits.reserve(tokens).start)
    assert [0.0, 5.0, 60.0, 60.0] == starts


def test_larger_than_the_limit():
    """A call above the whole limit gets a minute alone, instead of never."""
    limits, _ = limiter(tokens_per_minute=100)
    limits.reserve(10)
    assert [60.0, 120.0] == [limits.reserve(500).start, limits.reserve(10).start]


def test_settled():
    """Tokens that turned out fewer make room for others."""
    limits, _ = limiter(tokens_per_minute=100)
    reservation = limits.reserve(100)
    reservation.settle(20)
    assert 0.0 == limits.reserve(80).start


def test_withdrawn():
    """A call that will not happen takes no room."""
    limits, _ = limiter(requests_per_minute=1)
    limits.withdraw(limits.reserve())
    assert 0.0 == limits.reserve().start


def test_pause():
    """When the provider says "not before", those that wait already are held too, within the limits."""
    limits, clock = limiter(requests_per_minute=1)
    first, second, third = (limits.reserve() for _ in range(3))
    clock.now = 1.0
    limits.pause(100.0)
    assert [0.0, 101.0, 161.0] == [first.start, second.start, third.start]


@pytest.mark.parametrize("seed", range(5))
def test_any_minute(seed):
    """Whatever is asked for and when, no 60 seconds see more than the limits."""
    draw = random.Random(seed)
    limits, clock = limiter(requests_per_minute=10, tokens_per_minute=1000)
    starts = []
    for _ in range(300):
        clock.now += draw.expovariate(1 / 3)
        tokens = draw.randint(1, 400)
        starts.append((limits.reserve(tokens).start, tokens))
        if draw.random() < 0.02:
            limits.pause(draw.uniform(0, 30))
    for begin, _ in starts:
        within = [tokens for start, tokens in starts if begin <= start < begin + 60]
        assert (True, True) == (len(within) <= 10, sum(within) <= 1000)


@in_virtual_time
async def test_waits_in_order():
    """Callers begin in the order of asking; one that is cancelled gives its place back."""
    loop = asyncio.get_running_loop()
    limits = RateLimiter(requests_per_minute=2, monotonic=loop.time)
    began = []

    async def call(name):
        await limits.acquire()
        began.append((name, loop.time()))

    tasks = [asyncio.create_task(call(name)) for name in "abcde"]
    await asyncio.sleep(1)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [("a", 0.0), ("b", 0.0), ("d", 60.0), ("e", 120.0)] == began


def test_nonsense():
    """A limit that would stop everything is refused when it is set."""
    with pytest.raises(ValueError, match="requests_per_minute: 0 would never let a call begin"):
        RateLimiter(requests_per_minute=0)
