"""Work that the calendar asks for, such as retention every minute: at the times of a crontab, in UTC.

APScheduler knows when that is; one task per job waits for it, so that a job never runs beside itself, and one that is
late runs once for all the times it missed. What a job raises is logged, and it comes again. Only APScheduler's triggers
are loaded, with the first job: its schedulers, executors and job stores would take 0.7 MiB more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

Job = Callable[[], Awaitable[object]]

MINUTELY: Final = "* * * * *"
LOOK_EVERY: Final = 60.0
"""Seconds after which somebody may have set the clock."""
_LATER: Final = timedelta(microseconds=1)

log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    name: str
    trigger: CronTrigger
    job: Job


class Calendar:
    """Jobs, each with its times as in a crontab; `start` on the event loop. *now* tells the time in UTC."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._entries: list[_Entry] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, name: str, times: str, job: Job) -> None:
        """Run *job* at *times*: minute, hour, day of the month, month and day of the week. Raises ValueError.

        Days of the week are to be named (`mon`), for APScheduler counts them from Monday as 0 and cron from Sunday.
        """
        from apscheduler.triggers.cron import CronTrigger

        self._entries.append(_Entry(name, CronTrigger.from_crontab(times, UTC), job))

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._keep(one), name=f"calendar:{one.name}") for one in self._entries]

    def stop(self) -> None:
        """Begin no further run; stopping twice, or before starting, is harmless."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _keep(self, entry: _Entry) -> None:
        now = self._now()
        while (due := entry.trigger.get_next_fire_time(None, now)) is not None:
            due = await self._reach(due, entry.trigger)
            try:
                await entry.job()
            except Exception:
                log.exception("%s failed, and comes again", entry.name)
            now = max(self._now(), due + _LATER)

    async def _reach(self, due: datetime, trigger: CronTrigger) -> datetime:
        """Wait until *due*, or until the first time from where the clock is set back to; when that was."""
        before = math.inf
        while (early := (due - self._now()).total_seconds()) > 0:
            if early > before:
                due, before = trigger.get_next_fire_time(None, self._now()) or due, math.inf
            else:
                before = early
                await asyncio.sleep(min(early, LOOK_EVERY))
        return due
