"""Progress of running operations: what callbacks are told, and what a web client is sent as server-sent events.

A job is what a client waits for, under an id of the application's choice; one operation may be a job of its own, or
several follow each other within `with job(job_id):`. Every consumer of `progress_events` has a buffer of its own for
`BUFFERED` events; who reads too slowly loses the oldest of them, never the last. A consumer that comes late begins with
the latest event, and one that comes after the end gets the last.

Memory: the last event of `REMEMBERED` ended jobs, and the buffers.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

BUFFERED: Final = 64
REMEMBERED: Final = 256
NEARLY: Final = 95
"""The highest percentage shown before the end."""

STATUS_WORDS: Final = {
    "running": "Running",
    "ok": "Completed",
    "error": "Failed",
    "timeout": "TimedOut",
    "cancelled": "Cancelled",
    "interrupted": "Cancelled",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How an operation stands. `estimate` is for the whole, `remaining` is what is left; `progress` is in percent."""

    task: str
    elapsed: float
    estimate: float
    remaining: float
    message: str
    is_warning: bool = False
    status: str = "running"
    job_id: str | None = None
    timeout: float | None = None

    @property
    def progress(self) -> int:
        if self.status == "ok":
            return 100
        whole = self.elapsed + self.remaining
        return min(NEARLY, int(100 * self.elapsed / whole)) if whole else 0


def as_event(progress: Progress, least: int = 0) -> dict[str, Any]:
    """What a web client is sent; the percentage is not below *least*, since bars do not run backwards."""
    return {
        "jobId": progress.job_id,
        "progress": max(least, progress.progress),
        "status": STATUS_WORDS[progress.status],
        "stage": progress.task,
        "message": progress.message,
        "isWarning": progress.is_warning,
        "estimatedDurationSeconds": round(progress.estimate, 3),
        "elapsedSeconds": round(progress.elapsed, 3),
    }


class _Consumer:
    """One reader in its own event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._events: deque[dict[str, Any] | None] = deque(maxlen=BUFFERED + 1)

    def put(self, event: dict[str, Any] | None) -> None:
        """From any thread; None is the end."""
        self._events.append(event)
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._woken.set)

    async def get(self) -> dict[str, Any] | None:
        while not self._events:
            self._woken.clear()
            if not self._events:
                await self._woken.wait()
        return self._events.popleft()


class _Job:
    def __init__(self) -> None:
        self.holders = 0
        self.latest: dict[str, Any] | None = None
        self.consumers: list[_Consumer] = []


class Jobs:
    """All jobs of this process; any thread may publish, any event loop may read."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._ended: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, job_id: str) -> Iterator[None]:
        """The job runs at least as long as this block."""
        with self._lock:
            self._ended.pop(job_id, None)
            self._jobs.setdefault(job_id, _Job()).holders += 1
        try:
            yield
        finally:
            self._release(job_id)

    def publish(self, progress: Progress) -> None:
        """Tell the consumers of the job; without a job id there are none."""
        with self._lock:
            job = self._jobs.get(progress.job_id or "")
            if job is None:
                return
            same_stage = job.latest is not None and job.latest["stage"] == progress.task
            job.latest = as_event(progress, job.latest["progress"] if job.latest and same_stage else 0)
            for consumer in job.consumers:
                consumer.put(job.latest)

    async def events(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        consumer = _Consumer()
        self._join(job_id, consumer)
        try:
            while (event := await consumer.get()) is not None:
                yield event
        finally:
            self._part(job_id, consumer)

    def _join(self, job_id: str, consumer: _Consumer) -> None:
        with self._lock:
            if job_id in self._ended:
                consumer.put(self._ended[job_id])
                consumer.put(None)
                return
            job = self._jobs.setdefault(job_id, _Job())
            if job.latest is not None:
                consumer.put(job.latest)
            job.consumers.append(consumer)

    def _part(self, job_id: str, consumer: _Consumer) -> None:
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None or consumer not in job.consumers:
                return
            job.consumers.remove(consumer)
            if not job.consumers and not job.holders:
                del self._jobs[job_id]

    def _release(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs[job_id]
            job.holders -= 1
            if job.holders:
                return
            del self._jobs[job_id]
            if job.latest is not None:
                self._ended[job_id] = job.latest
            while len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            for consumer in job.consumers:
                consumer.put(None)


jobs: Final = Jobs()
current_job: Final[ContextVar[str | None]] = ContextVar("otel_latency_job", default=None)


@contextmanager
def job(job_id: str) -> Iterator[None]:
    """One job for all operations within: they take its id, and it ends with the block."""
    outer = current_job.get()
    current_job.set(job_id)
    try:
        with jobs.hold(job_id):
            yield
    finally:
        current_job.set(outer)  # not a token: the block may be left in another context than it was entered in


def progress_events(job_id: str) -> AsyncIterator[dict[str, Any]]:
    """The events of a job until it ends, for a web client; waits for a job that has not begun."""
    return jobs.events(job_id)
