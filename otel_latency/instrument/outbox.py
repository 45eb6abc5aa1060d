"""A bounded queue with a daemon thread behind it that exports what was put in.

`put` never blocks, waits for no lock and may be called from a destructor. When the queue is full the newest item is
dropped and counted. The thread starts with the first item, again after a fork, and looks every *delay* seconds. A
forked child starts with an empty queue and an exporter of its own: sockets are not shared.

What the exporter's libraries log about a failure is kept off the application's log: see `guard` for the line it gets.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from otel_latency.instrument.guard import guard

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)

LIMIT: Final = 2048
BATCH: Final = 512
GROUP: Final = 16
"""Items that are encoded without a pause: some 0.1 ms of spans over HTTP, 0.5 ms of what the SDK encodes."""
PAUSE: Final = 5e-5
"""Long enough for a thread that waits for the interpreter to get it; with 0 it rarely does."""
PATIENCE: Final = 0.05
"""Seconds of pauses in a batch."""
NOISY: Final = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)
_threads: Final[set[int]] = set()
"""Idents of the threads behind our queues."""


class Exporter(Protocol[Item_contra]):
    """What opentelemetry-sdk calls a span exporter or a log record exporter."""

    def export(self, batch: Sequence[Item_contra], /) -> Any:
        """Send; the answer's `name` is SUCCESS when everything was taken."""

    def shutdown(self) -> None:
        """Give up what is being sent."""


class Outbox(Generic[Item]):
    """Sends what is put in, *delay* seconds later at most. *what* names it in threads and messages.

    *prepare* makes of an item what the exporter gets, in the thread that puts the item in.
    """

    def __init__(
        self,
        make_exporter: Callable[[], Exporter[Item]],
        what: str,
        delay: float,
        *,
        limit: int = LIMIT,
        batch: int = BATCH,
        prepare: Callable[[Item], Any] | None = None,
    ) -> None:
        self.dropped = 0
        """Items that were not delivered: no room, or refused."""
        self._make_exporter = make_exporter
        self._what = what
        self._prepare = prepare
        self._delay = delay
        self._limit = limit
        self._batch = min(batch, limit)
        self._is_closed = self._is_over = False
        self._exporter: Exporter[Item] | None = make_exporter()
        self._inherited: list[Exporter[Item]] = []
        self._reset()
        silence_exporters()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (again := reset()) and again())

    def _reset(self) -> None:
        self._queue: deque[Any] = deque()
        self._wake: SimpleQueue[threading.Event | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_failing = False

    def _after_fork(self) -> None:
        _threads.clear()
        if self._exporter is not None:
            # Never closed here: it would close, or wait for, what belongs to the parent.
            self._inherited.append(self._exporter)
            self._exporter = None
        self._reset()

    def put(self, item: Item) -> None:
        """Queue *item*, or drop it."""
        waiting = len(self._queue)
        if self._is_closed or waiting >= self._limit:
            self.dropped += 1
            return
        if self._prepare is None:
            self._queue.append(item)
        else:
            try:
                self._queue.append(self._prepare(item))
            except Exception as fault:
                guard.caught("export", fault)
                self.dropped += 1
                return
        if self._thread is None:
            self._start()
        elif waiting + 1 == self._batch:
            self._wake.put(None)

    def hurry(self) -> None:
        """Send what is queued now."""
        self._wake.put(None)

    def flush(self, timeout: float) -> bool:
        """Whether everything queued so far was handed to the exporter within *timeout* seconds."""
        if self._thread is None or not self._thread.is_alive():
            return not self._queue
        done = threading.Event()
        self._wake.put(done)
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Send what is left, for *timeout* seconds at most; not at all while nobody takes it. Twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_failing:
            self.flush(timeout)
        if self._exporter is not None:
            self._exporter.shutdown()
        self._is_over = True  # not before: the thread has to answer the flush
        self._wake.put(None)

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread does it
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"otel-latency-{self._what}", daemon=True)
                # Not in the context of whoever came first: a turn would never be let go.
                contextvars.Context().run(thread.start)
                self._thread = thread
        except RuntimeError as fault:  # the interpreter is going down
            guard.caught("thread", fault)
        finally:
            self._starting.release()

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
        _threads.add(threading.get_ident())
        try:
            while not self._is_over:
                asked = self._asked()
                self._send_all()
                if asked is not None:
                    asked.set()
        finally:
            _threads.discard(threading.get_ident())

    def _asked(self) -> threading.Event | None:
        try:
            return self._wake.get(timeout=self._delay)
        except Empty:
            return None

    def _send_all(self) -> None:
        while self._queue:
            items = (self._queue.popleft() for _ in range(min(self._batch, len(self._queue))))
            batch = Unhurried(items) if self._prepare is None else list(items)
            self._is_failing = not self._send(batch)
            if self._is_failing:
                self.dropped += len(batch)
                guard.complain("export", f"{self._what} could not be delivered; is the agent running?")

    def _send(self, batch: Sequence[Item]) -> bool:
        try:
            if self._exporter is None:
                self._exporter = self._make_exporter()
            return bool(self._exporter.export(batch).name == "SUCCESS")
        except Exception as fault:
            guard.caught("export", fault)
            return False


class Unhurried(list[Item]):
    """A batch that lets other threads run while it is iterated over.

    An exporter encodes in one go. That is 10 to 30 ms of Python for a batch, in which an event loop gets hold of the
    interpreter only every 5 ms (`sys.getswitchinterval`), once for each of its steps. Where the others never let go
    themselves, a pause takes as long, and `PATIENCE` soon is at its end: the queue would overflow.
    """

    def __iter__(self) -> Iterator[Item]:
        paused = 0.0
        for number, item in enumerate(super().__iter__()):
            if number % GROUP == 0 and paused < PATIENCE:
                before = time.monotonic()
                time.sleep(PAUSE)
                paused += time.monotonic() - before
            yield item


class _NotOurs(logging.Filter):
    """Refuses what is logged by the threads behind our queues, and nothing else."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread not in _threads


_not_ours: Final = _NotOurs()


def silence_exporters() -> None:
    """Keep off the log what exporters say while they work for us; the application's own exporters stay audible."""
    for name in NOISY:
        logging.getLogger(name).addFilter(_not_ours)


def close_all(outboxes: Sequence[Outbox[Any]], timeout: float) -> None:
    """Close them one after another, within *timeout* seconds in all."""
    until = time.monotonic() + timeout
    for outbox in outboxes:
        outbox.close(max(until - time.monotonic(), 0.0))
