"""Reports about work that is still running, as OpenTelemetry log records: a span tells of itself only at its end.

A thread looks at the open spans every 50 ms. Work that has run for 100 ms is reported as started; then every 5 s as in
progress, once at half of its timeout as a warning, and at last as ended. Shorter work costs nothing but its place in
the table of open spans.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument.guard import guard
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.span import Timed
from otel_latency.instrument.stream import settle_dropped

LOOK_INTERVAL: Final = 0.05
REPORTED_AFTER: Final = 0.1
PROGRESS_INTERVAL: Final = 5.0
JOIN_TIMEOUT: Final = 0.2
WARNING_AT: Final = 0.5
"""Share of the timeout."""

Emit = Callable[[str, Context, Mapping[str, AttributeValue]], None]
"""Takes an event name, the context of the work's span, and attributes."""


@dataclass(slots=True)
class _Reported:
    work: Timed
    context: Context
    next_progress: float
    is_warned: bool = False


class Watch:
    """Looks at a table of open spans; `step` is one look."""

    def __init__(self, emit: Emit, sent: Callable[[], None], table: dict[int, Timed]) -> None:
        self._emit = emit
        self._sent = sent
        self._table = table
        self._reported: dict[int, _Reported] = {}

    def step(self) -> None:
        """Report what has changed since the last look; calls *sent* if there was anything."""
        seen = dict(self._table)
        count = sum(self._end(key, known) for key, known in list(self._reported.items()) if key not in seen)
        count += sum(self._look(key, work) for key, work in seen.items())
        if count:
            self._sent()

    def forget(self) -> None:
        """Of a fork's parent, in the child."""
        self._reported.clear()
        self._table.clear()

    def _look(self, key: int, work: Timed) -> bool:
        known = self._reported.get(key)
        if known is not None and known.work is not work:  # its place in memory was taken
            self._end(key, known)
            known = None
        elapsed = work.elapsed
        if known is None:
            return elapsed >= REPORTED_AFTER and self._start(key, work, elapsed)
        if not known.is_warned and work.timeout is not None and elapsed >= work.timeout * WARNING_AT:
            known.is_warned = True
            return self._say(semconv.OPERATION_WARNING, known, elapsed)
        if elapsed >= known.next_progress:
            known.next_progress = elapsed - elapsed % PROGRESS_INTERVAL + PROGRESS_INTERVAL
            return self._say(semconv.OPERATION_PROGRESS, known, elapsed)
        return False

    def _start(self, key: int, work: Timed, elapsed: float) -> bool:
        context = work.own_context
        if context is None or not work.span_context.is_valid:
            return False
        known = self._reported[key] = _Reported(work, context, PROGRESS_INTERVAL)
        return self._say(semconv.OPERATION_START, known, elapsed)

    def _end(self, key: int, known: _Reported) -> bool:
        del self._reported[key]
        return self._say(semconv.OPERATION_END, known, known.work.elapsed)

    def _say(self, event: str, known: _Reported, elapsed: float) -> bool:
        work = known.work
        attributes = {**work.labels(), semconv.ELAPSED: elapsed}
        if work.timeout is not None:
            attributes[semconv.TIMEOUT] = work.timeout
        if work.estimate is not None:
            attributes[semconv.ESTIMATE] = work.estimate
        self._emit(event, known.context, attributes)
        return True


class Watcher:
    """The thread that looks. It ends with `close`, starts again in a forked child, and never keeps a process alive."""

    def __init__(self, emit: Emit, sent: Callable[[], None]) -> None:
        self._watch = Watch(emit, sent, runtime.open)
        self._start()
        if hasattr(os, "register_at_fork"):
            again = weakref.WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (start := again()) and start())

    def close(self) -> None:
        """Report all that was reported as running as ended."""
        self._closing.set()
        self._thread.join(JOIN_TIMEOUT)
        if not self._thread.is_alive():
            runtime.open.clear()
            self._watch.step()

    def _start(self) -> None:
        self._closing = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._closing,), name="otel-latency-watcher", daemon=True)
        contextvars.Context().run(thread.start)
        self._thread = thread

    def _after_fork(self) -> None:
        is_closed = self._closing.is_set()
        self._watch.forget()
        if not is_closed:
            self._start()

    def _run(self, closing: threading.Event) -> None:
        while not closing.wait(LOOK_INTERVAL):
            try:
                settle_dropped()
                self._watch.step()
            except Exception as fault:
                guard.caught("watch", fault)
                time.sleep(LOOK_INTERVAL)
