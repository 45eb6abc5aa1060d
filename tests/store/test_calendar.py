import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest

from otel_latency.store import calendar
from otel_latency.store.calendar import MINUTELY, Calendar

START = datetime(2024, 5, 1, 11, 59, 59, 990_000, tzinfo=UTC)


class Now:
    """A clock that goes as the real one does, from a time of ours, and can be put forward."""

    def __init__(self):
        self.offset = START - datetime.now(UTC)

    def __call__(self):
        return datetime.now(UTC) + self.offset


async def test_a_job_comes_again():
    """One that raised is kept for its next time; the times that it missed are one."""
    now, ran = Now(), asyncio.Queue()

    async def fail():
        await ran.put(now())
        now.offset += timedelta(minutes=5, seconds=59.9)
        raise RuntimeError("each time")

    calendar = Calendar(now)
    calendar.add("retention", MINUTELY, fail)
    calendar.start()
    async with asyncio.timeout(10):
        times = [(await ran.get()).strftime("%H:%M") for _ in range(3)]
    calendar.stop()
    calendar.stop()
    assert ["12:00", "12:06", "12:12"] == times


async def test_a_clock_that_is_set_back(monkeypatch):
    """A job comes at its times from there on, and not only when its former time comes again."""
    monkeypatch.setattr(calendar, "LOOK_EVERY", 0.01)
    now, ran = Now(), asyncio.Queue()
    now.offset -= timedelta(seconds=30)

    async def note():
        await ran.put(now())

    jobs = calendar.Calendar(now)
    jobs.add("retention", MINUTELY, note)
    jobs.start()
    await asyncio.sleep(0.02)
    now.offset -= timedelta(days=1, seconds=-29.9)
    async with asyncio.timeout(10):
        assert "2024-04-30 12:00" == (await ran.get()).strftime("%Y-%m-%d %H:%M")
    jobs.stop()


async def test_a_job_never_runs_beside_itself():
    """However long it takes, and stopping ends it."""
    now, running = Now(), []

    async def take_long():
        running.append(now())
        now.offset += timedelta(minutes=3)
        await asyncio.Event().wait()

    calendar = Calendar(now)
    calendar.add("reports", MINUTELY, take_long)
    calendar.start()
    async with asyncio.timeout(10):
        while not running:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    (task,) = calendar._tasks
    calendar.stop()
    await asyncio.wait([task])
    assert (1, True) == (len(running), task.cancelled())


async def test_times():
    """Times are those of a crontab, in UTC; others are refused."""
    calendar = Calendar()

    async def nothing():
        pass

    calendar.add("reports", "30 6 * * mon", nothing)
    (entry,) = calendar._entries
    monday = entry.trigger.get_next_fire_time(None, datetime(2024, 5, 1, tzinfo=UTC))
    assert datetime(2024, 5, 6, 6, 30, tzinfo=UTC) == monday
    with pytest.raises(ValueError):
        calendar.add("never", "61 * * * *", nothing)


async def test_loaded_late():
    """Nothing of APScheduler is loaded before it is used, and its schedulers never are."""
    code = (
        "import sys, otel_latency.store.calendar as c, otel_latency.store.history; print('apscheduler' in sys.modules);"
        "c.Calendar().add('a', c.MINUTELY, None); print('apscheduler.schedulers' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert b"False\nFalse\n" == (await process.communicate())[0]
