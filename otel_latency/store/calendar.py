"""Work that the calendar asks for, such as retention every minute: APScheduler, in UTC, on the running loop.

A job that is late runs once for all the times it missed, and never beside itself; what it raises is logged, and it
comes again. APScheduler takes 1.6 MiB, so it is loaded with the first calendar.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Final

Job = Callable[[], Awaitable[object]]

MINUTELY: Final = "* * * * *"


class Calendar:
    """Jobs, each with its times as in a crontab; `start` on the event loop."""

    def __init__(self) -> None:
        from apscheduler.schedulers.asyncio import AsyncIOScheduler

        logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it would tell of every run
        options = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=options)

    def add(self, name: str, times: str, job: Job) -> None:
        """Run *job* at *times*: minute, hour, day of the month, month and day of the week. Raises ValueError.

        Days of the week are to be named (`mon`), for APScheduler counts them from Monday as 0 and cron from Sunday.
        """
        from apscheduler.triggers.cron import CronTrigger

        self._scheduler.add_job(job, CronTrigger.from_crontab(times, UTC), id=name, name=name)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no further run; stopping twice, or before starting, is harmless."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
