"""Polling: cadence, faults, hangs, and what the sink gets."""

import asyncio
import threading

import pytest

from otel_latency.collect.runner import CollectorRunner, CollectorStatus, Source
from otel_latency.records import Sample

OWN = "otel_latency_agent_collector_"


class Sink:
    """Keeps what it is handed; `next` waits for the next hand-over of a collector."""

    def __init__(self):
        self.queues = {}

    def __call__(self, source, samples, now):
        values = {sample.name.removeprefix(OWN): sample.value for sample in samples}
        self._queue(source).put_nowait((now - 1_700_000_000, values))

    async def next(self, source="shop"):
        return await self._queue(source).get()

    def is_empty(self, source="shop"):
        return self._queue(source).empty()

    def _queue(self, source):
        return self.queues.setdefault(source, asyncio.Queue())


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
async def run(sink, clock):
    """A function that polls sources until the test ends, and gives the runner."""
    running = []

    def start(*sources):
        runner = CollectorRunner(sources, sink, clock)
        running.append((runner, asyncio.create_task(runner.run())))
        return runner

    yield start
    for runner, task in running:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        runner.close()


def counting():
    """A collector that counts its polls."""
    count = 0

    def collect():
        nonlocal count
        count += 1
        yield Sample("polls", count)

    return collect


def handed(polls, failures=0, skipped=0):
    return {"failures_total": failures, "skipped_total": skipped} | ({} if polls is None else {"polls": polls})


async def test_cadence(run, sink, clock):
    """A collector is polled at once and then on its interval; the sink gets the samples and the wall time."""
    run(Source("shop", counting(), 10.0))
    assert (0.0, handed(1)) == await sink.next()
    await clock.advance(9.9)
    assert sink.is_empty()
    await clock.advance(0.1)
    assert (10.0, handed(2)) == await sink.next()


async def test_async_collectors(run, sink, clock):
    """An async collector is awaited on the loop, not on a thread."""
    threads = []

    async def collect():
        await asyncio.sleep(0)
        threads.append(threading.current_thread())
        return [Sample("polls", 1)]

    run(Source("shop", collect, 1.0))
    assert (0.0, handed(1)) == await sink.next()
    assert [threading.main_thread()] == threads


def broken():
    raise ValueError("hunter2")


async def broken_async():
    raise ValueError("hunter2")


async def cancels_itself():
    raise asyncio.CancelledError


def exits():
    raise SystemExit(1)


BROKEN = {
    "raises": (broken, "ValueError at test_runner.py"),
    "raises, async": (broken_async, "ValueError at test_runner.py"),
    "cancels itself": (cancels_itself, "CancelledError"),
    "exits": (exits, "RuntimeError"),
    "gives no samples": (lambda: 5, "TypeError at validation.py"),
}


@pytest.mark.parametrize(("collect", "error"), BROKEN.values(), ids=BROKEN)
async def test_a_failure_costs_its_own_poll(run, sink, clock, collect, error):
    """A collector that fails is counted and polled again; its neighbour does not notice; no message gets out."""
    runner = run(Source("broken", collect, 1.0), Source("shop", counting(), 1.0))
    for poll in (1, 2):
        assert handed(None, failures=poll) == (await sink.next("broken"))[1]
        assert handed(poll) == (await sink.next("shop"))[1]
        await clock.advance(1.0)
    status, neighbour = runner.status()
    assert status.last_error.startswith(error)
    assert ("hunter2" in status.last_error, status.last_success, neighbour.last_error) == (False, None, "")


async def test_status(run, sink, clock):
    """The status keeps the last error after the collector has recovered, and says when it last succeeded."""
    results = iter([[Sample("polls", float("nan"))], [Sample("polls", 1)]])
    runner = run(Source("shop", lambda: next(results), 5.0))
    await sink.next()
    assert [CollectorStatus("shop", 5.0, 1, 0, None, "polls is nan")] == runner.status()
    await clock.advance(5.0)
    await sink.next()
    assert [CollectorStatus("shop", 5.0, 1, 0, clock.time(), "polls is nan")] == runner.status()


async def test_a_bad_sample_costs_itself(run, sink):
    """The good samples of a poll are handed on although one was bad; the poll counts as failed."""
    run(Source("shop", lambda: [Sample("polls", 1), Sample("otel_latency_up", 1)], 1.0))
    assert handed(1, failures=1) == (await sink.next())[1]


async def test_a_hung_collector_is_skipped(run, sink, clock):
    """A hang is a failure at its timeout and then skipped turns; the late result is dropped; then polling goes on."""
    hang, polls = threading.Event(), counting()

    def collect():
        hang.wait()
        return polls()

    run(Source("hangs", collect, 1.0, timeout=0.02), Source("shop", counting(), 1.0))
    assert (handed(None, failures=1), handed(1)) == ((await sink.next("hangs"))[1], (await sink.next())[1])
    for turn in (1, 2, 3):
        await clock.advance(1.0)
        assert handed(None, failures=1, skipped=turn) == (await sink.next("hangs"))[1]
        assert handed(1 + turn) == (await sink.next())[1]
    hang.set()
    while "polls" not in await turn_of(clock, sink, "hangs"):
        pass  # the thread is about to end its poll


async def turn_of(clock, sink, source):
    await clock.advance(1.0)
    return (await sink.next(source))[1]


async def test_a_hung_async_collector_is_cancelled(run, sink, clock):
    """An async collector over its timeout is cancelled, and polled afresh at its next turn."""
    cancelled = []

    async def collect():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    run(Source("shop", collect, 1.0, timeout=0.02))
    assert handed(None, failures=1) == (await sink.next())[1]
    await clock.advance(1.0)
    assert handed(None, failures=2) == (await sink.next())[1]
    await asyncio.sleep(0)
    assert [True, True] == cancelled


async def test_turns_missed_during_a_long_poll_are_counted(run, sink, clock):
    """Ticks that pass while a poll is still within its timeout are folded into one turn and counted as skipped."""
    goes_on = threading.Event()

    def collect():
        goes_on.wait()
        return [Sample("polls", 1)]

    run(Source("shop", collect, 1.0, timeout=600.0))
    await clock.advance(0.0)
    goes_on.set()
    await sink.next()
    goes_on.clear()
    await clock.advance(3.5)
    goes_on.set()
    assert handed(1) == (await sink.next())[1]
    assert handed(1, skipped=1) == (await sink.next())[1]


async def test_failures_are_logged_once_a_minute(run, sink, clock, caplog):
    """Sixty-one failures in a minute are two lines, with the cause and when it is tried again."""
    run(Source("broken", broken, 1.0))
    await sink.next("broken")
    for _ in range(60):
        await turn_of(clock, sink, "broken")
    lines = [record.getMessage() for record in caplog.records]
    place = f"test_runner.py:{broken.__code__.co_firstlineno + 1}"
    assert [f"collector broken: ValueError at {place}; next poll in 1 s"] * 2 == lines


async def test_a_failing_sink_does_not_stop_the_polling(clock, caplog):
    """When the next step raises, that is logged and the collector is polled on."""
    polled = asyncio.Queue()

    def sink(source, samples, now):
        polled.put_nowait(now)
        raise OSError("full")

    runner = CollectorRunner([Source("shop", counting(), 1.0)], sink, clock)
    running = asyncio.create_task(runner.run())
    await polled.get()
    await clock.advance(1.0)
    await polled.get()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    runner.close()
    assert ["samples of collector shop were not taken"] * 2 == [record.message for record in caplog.records]


async def test_close(sink, clock, caplog):
    """Every collector is closed, also after one whose closing fails; one that hangs in a poll is left alone."""
    hang, closed = threading.Event(), []
    sources = [
        Source("hangs", hang.wait, 1.0, timeout=0.02, close=lambda: closed.append("hangs")),
        Source("fails", counting(), 1.0, close=broken),
        Source("shop", counting(), 1.0, close=lambda: closed.append("shop")),
    ]
    CollectorRunner(sources, sink, clock).close()
    assert ["hangs", "shop"] == closed
    closed.clear()

    runner = CollectorRunner(sources, sink, clock)
    running = asyncio.create_task(runner.run())
    for source in sources:
        await sink.next(source.name)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    runner.close()
    hang.set()
    assert ["shop"] == closed
    assert "closing collector fails failed: ValueError at test_runner.py" in caplog.text
    assert "hunter2" not in caplog.text
