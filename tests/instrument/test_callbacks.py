"""A user's callback cannot disturb the operation that it is told about."""

import asyncio

import pytest

from otel_latency.instrument.callbacks import tell
from otel_latency.instrument.guard import guard


@pytest.fixture(autouse=True)
def faults():
    guard.faults.clear()
    yield guard.faults
    guard.faults.clear()


def test_told(faults):
    """A callback gets its arguments; no callback is fine."""
    heard = []
    tell("on_retry", lambda *said: heard.append(said), 1, 2)
    tell("on_retry", None, 1, 2)
    assert ([(1, 2)], {}) == (heard, faults)


def test_failing(faults):
    """What it raises is counted under its name."""
    tell("on_retry", lambda: 1 / 0)
    assert {"on_retry": 1} == faults


def test_exit():
    """An exit is meant."""

    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        tell("on_retry", leave)


async def test_asynchronous(faults):
    """A coroutine function runs as a task; what it raises is counted as well."""
    done = asyncio.Event()

    async def hear():
        done.set()
        raise ValueError

    tell("on_progress", hear)
    await done.wait()
    await asyncio.sleep(0)
    assert {"on_progress": 1} == faults


def test_asynchronous_without_a_loop(faults):
    """Without a running loop it cannot run: counted, and nothing is left un-awaited."""

    async def hear():
        raise AssertionError

    tell("on_progress", hear)
    assert {"on_progress": 1} == faults
