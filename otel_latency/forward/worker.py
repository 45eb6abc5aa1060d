"""The thread on which forwarding does what would hold up the loop: cutting, packing and reading files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """One thread, for all destinations; it ends with `close`, or with the process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="otel-latency-forward")

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """The result of *work*, done on the thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """What has begun ends, the rest does not begin. Closing twice is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)
