"""The event loop's lag and the watchdog."""

import asyncio
import logging
import threading

import pytest

from otel_latency.clock import SystemClock
from otel_latency.collect.lag import LoopLag


@pytest.fixture
def lag(clock):
    return LoopLag(clock)


def test_the_worst_lateness_since_the_last_poll(lag, by_series):
    """Each poll gives the worst lateness since the poll before, and how often the loop stood still."""
    for lateness in (0.001, 0.3, 0.002):
        lag.beat(lateness)
    assert {"agent_loop_lag_seconds": 0.3, "agent_loop_blocked_total": 1} == by_series(lag.collect())
    assert {"agent_loop_lag_seconds": 0.0, "agent_loop_blocked_total": 1} == by_series(lag.collect())


async def test_alive(lag, clock):
    """The loop is alive while its last beat is not more than ten seconds old."""
    lag.beat(0.0)
    await clock.advance(10.0)
    assert lag.alive()
    await clock.advance(0.1)
    assert not lag.alive()
    lag.beat(10.0)
    assert lag.alive()


async def test_run_beats(lag, clock):
    """While `run` runs, the loop stays alive; when it is cancelled, the watchdog ends."""
    running = asyncio.create_task(lag.run())
    await clock.advance(60.0)
    assert lag.alive()
    watchdog = next(thread for thread in threading.enumerate() if thread.name == "otel-latency-watchdog")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(watchdog.join)
    await clock.advance(60.0)
    assert not lag.alive()


def looks(lag, times):
    for now in times:
        lag.look(now)


def test_a_block_is_told_once(lag, caplog):
    """A heartbeat overdue by more than 250 ms is logged once, however long the block goes on."""
    lag.beat(0.0)
    looks(lag, [0.125, 0.25, 0.375])  # the next beat is due at 0.125: at 0.375 it is just 250 ms overdue
    assert [] == caplog.records
    looks(lag, [step * 0.125 for step in range(4, 40)])
    lag.beat(4.9)
    [record] = caplog.records
    assert record.getMessage().startswith("the event loop has been blocked for 0.38 s by:")


async def test_blocks_are_logged_once_a_minute(lag, clock, caplog):
    """Many blocks in a minute are one line; all are counted."""
    for _ in range(12):
        lag.beat(1.0)
        await clock.advance(10.0)
    assert (2, 12) == (len(caplog.records), list(lag.collect())[1].value)


def test_a_stopped_process_is_not_blamed_on_a_stack(lag, caplog):
    """When the watchdog stood still as well, the stack of now proves nothing: the beat tells it, without one."""
    lag.beat(0.0)
    looks(lag, [0.125, 60.0])
    assert [] == caplog.records
    lag.beat(59.9)
    [record] = caplog.records
    assert record.getMessage().startswith("the event loop stood still for 59.90 s, unseen by the watchdog")


class Told(logging.Handler):
    """Keeps the first record and says that it came."""

    def __init__(self):
        super().__init__()
        self.came = threading.Event()
        self.text = ""

    def emit(self, record):
        self.text = self.text or record.getMessage()
        self.came.set()


def the_function_that_blocks(told):
    assert told.came.wait(30)


async def test_a_real_block_is_logged_with_its_stack():
    """A function that blocks a real loop is named by the real watchdog while it blocks."""
    told, lag = Told(), LoopLag(SystemClock())
    logger = logging.getLogger("otel_latency.collect.lag")
    logger.addHandler(told)
    running = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    the_function_that_blocks(told)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    logger.removeHandler(told)
    assert "in the_function_that_blocks\n" in told.text
