import asyncio
import sys
from datetime import UTC, datetime

import pytest

from otel_latency.store.calendar import MINUTELY, Calendar


async def test_a_job_runs_and_comes_again():
    """A job that is due runs on the loop, and one that raised is kept for its next time."""
    ran = asyncio.Event()

    async def fail():
        ran.set()
        raise RuntimeError("once")

    calendar = Calendar()
    calendar.add("retention", MINUTELY, fail)
    calendar.start()
    calendar._scheduler.get_job("retention").modify(next_run_time=datetime.now(UTC))
    await asyncio.wait_for(ran.wait(), 10)
    assert calendar._scheduler.get_job("retention").next_run_time > datetime.now(UTC)
    calendar.stop()
    calendar.stop()


def test_times():
    """Times are those of a crontab, in UTC; others are refused."""
    calendar = Calendar()

    async def nothing():
        pass

    calendar.add("reports", "30 6 * * mon", nothing)
    (job,) = calendar._scheduler.get_jobs()
    monday = job.trigger.get_next_fire_time(None, datetime(2024, 5, 1, tzinfo=UTC))
    assert datetime(2024, 5, 6, 6, 30, tzinfo=UTC) == monday
    with pytest.raises(ValueError):
        calendar.add("never", "61 * * * *", nothing)
    calendar.stop()


async def test_loaded_late():
    """Nothing of APScheduler is loaded before it is used."""
    code = "import sys, otel_latency.store.calendar, otel_latency.store.history; print('apscheduler' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert b"False\n" == (await process.communicate())[0]
