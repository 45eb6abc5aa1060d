"""A queue in front of a model in this process that must not be called twice at a time (llama.cpp, Whisper).

    model = LocalModelQueue(whisper.transcribe, name="whisper")
    text = model(audio)                    # from any thread
    text = await model.call(audio)         # from any event loop, without blocking it

The model always runs in the same thread (in the same `workers` threads), which libraries with state per thread need.
The wait for it is a stage of its own (`<name>_queue`), beside the stage of the work (`<name>`).
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, ParamSpec, Self, TypeVar

from otel_latency.instrument.stage import Stage

P = ParamSpec("P")
T = TypeVar("T")


class LocalModelQueue(Generic[P, T]):
    """At most *workers* calls of *function* at a time, in the order of asking; *max_waiting* more may wait.

    A call beyond that raises `queue.Full` at once. A caller that is cancelled leaves the queue; a call that has begun
    goes on to its end.
    """

    def __init__(
        self, function: Callable[P, T], *, name: str = "model", workers: int = 1, max_waiting: int | None = None
    ) -> None:
        self._function = function
        self._name = name
        self._workers = workers
        self._max_waiting = max_waiting
        self._pending = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._executor = self._start()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for the model in this thread."""
        begun, ended = self._submit(partial(self._function, *args, **kwargs))
        try:
            with Stage(f"{self._name}_queue"):
                begun.result()
            return ended.result()
        except BaseException:
            ended.cancel()
            raise

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for the model in this task."""
        begun, ended = self._submit(partial(self._function, *args, **kwargs))
        try:
            async with Stage(f"{self._name}_queue"):
                await asyncio.wrap_future(begun)
            return await asyncio.wrap_future(ended)
        except BaseException:
            ended.cancel()
            raise

    def close(self) -> None:
        """Wait for the calls that run, cancel those that wait, and let the threads go."""
        self._executor.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def _submit(self, call: Callable[[], T]) -> tuple[Future[None], Future[T]]:
        """Two futures: the call has begun, the call has ended."""
        begun: Future[None] = Future()

        def work() -> T:
            if begun.set_running_or_notify_cancel():
                begun.set_result(None)
            with Stage(self._name):
                return call()

        with self._lock:
            self._after_fork()
            if self._max_waiting is not None and self._pending >= self._workers + self._max_waiting:
                raise queue.Full(f"{self._name}: {self._max_waiting} calls are waiting already")
            ended = self._executor.submit(contextvars.copy_context().run, work)
            self._pending += 1
        ended.add_done_callback(self._leave)
        return begun, ended

    def _leave(self, _ended: Future[T]) -> None:
        with self._lock:
            self._pending -= 1

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # the executor's threads stayed in the parent
            self._pid, self._pending, self._executor = os.getpid(), 0, self._start()

    def _start(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix=self._name)
