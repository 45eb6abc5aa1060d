"""Daemon threads for calls that may block or hang, apart from asyncio's default executor.

A job starts at once on an idle thread or a new one, up to `limit`; beyond it jobs queue. A hung job therefore holds up
nobody else while fewer than `limit` hang, and no job keeps the process from exiting. `limit` bounds the threads.

Cost: about 50 us per job, one idle thread for each job that ever ran at the same time as another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    function: Callable[[], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class DaemonThreads:
    """Runs functions for coroutines of one or more loops; `submit` and `close` belong on a loop's thread."""

    def __init__(self, name: str, *, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._closed = False

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Start *function* on a thread. Cancelling the future does not stop it: its outcome is then dropped."""
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        loop = asyncio.get_running_loop()
        job = _Job(function, loop.create_future(), loop)
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()
        return job.future

    def close(self) -> None:
        """Let the threads end after what they do now. Twice is harmless."""
        if not self._closed:
            self._closed = True
            for _ in range(self._count):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, error = _run(job.function)
            self._idle.release()  # before the caller hears of it: its next job finds this thread free
            with suppress(RuntimeError):  # the loop was closed while the job ran
                job.loop.call_soon_threadsafe(_settle, job.future, result, error)
            del job, result, error  # nothing of theirs is to live on until the next job comes


def _run(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except BaseException as raised:  # noqa: BLE001 - a thread of the pool outlives even sys.exit() in a user's function
        return None, _transferable(raised)


def _transferable(error: BaseException) -> Exception:
    """*error*, or a stand-in for those that would end the loop (or that a future refuses to hold)."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__} was raised")


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
