"""How a job spent its time: phases, segments done beside each other, peak memory, errors and retries, as a report.

    with PerformanceTracker() as tracker:
        with latency.track("transcribe"):
            ...
        await latency.gather_bounded(summarise, segments, limit=5)
    print(tracker.report())

Inside the block (and the tasks started there) `track`, `run`, `gather_bounded` and `retry` report to this tracker;
outside of any to none, and `track` is only a stage. Each phase is a stage as well.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Self

from otel_latency.instrument.stage import Stage


@dataclass(frozen=True, slots=True)
class ProcessingStats:
    """Seconds, counts and MiB. `concurrent_efficiency` is the share of the slots' time that was used, None without any.

    A phase that ran several times has the sum of its times. Memory is the process's peak since its start.
    """

    total_time: float
    phase_times: Mapping[str, float]
    segments_processed: int
    segments_failed: int
    concurrent_efficiency: float | None
    speedup: float | None
    memory_peak_mb: float
    errors: Mapping[str, int]
    retries_performed: int

    @property
    def errors_encountered(self) -> int:
        return sum(self.errors.values())


class PerformanceTracker:
    """Safe to use from any thread and task; one tracker covers one job."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._started = monotonic()
        self._ended: float | None = None
        self._phases: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._segments: Counter[bool] = Counter()
        self._retries = 0
        self._busy = 0.0
        self._elapsed = 0.0
        self._offered = 0.0
        self._lock = threading.Lock()
        self._outer: PerformanceTracker | None = None

    def __enter__(self) -> Self:
        self._outer = current_tracker.get()
        current_tracker.set(self)
        return self

    def __exit__(self, *_failure: object) -> None:
        self._ended = self._monotonic()
        current_tracker.set(self._outer)

    @contextmanager
    def track(self, phase: str) -> Iterator[None]:
        """Time a phase; it is a stage, too."""
        began = self._monotonic()
        try:
            with Stage(phase):
                yield
        finally:
            with self._lock:
                self._phases[phase] += self._monotonic() - began  # type: ignore[assignment]  # seconds, not counts

    def segment(self, seconds: float, *, ok: bool = True) -> None:
        """A segment took *seconds* of a slot."""
        with self._lock:
            self._segments[ok] += 1
            self._busy += seconds

    def offered(self, seconds: float, slots: int) -> None:
        """For *seconds* there were *slots* segments that could run beside each other."""
        with self._lock:
            self._elapsed += seconds
            self._offered += seconds * slots

    def error(self, category: str = "processing") -> None:
        with self._lock:
            self._errors[category] += 1

    def retry(self) -> None:
        with self._lock:
            self._retries += 1

    def stats(self) -> ProcessingStats:
        """As it stands now, or at the end of the block."""
        with self._lock:
            return ProcessingStats(
                total_time=(self._monotonic() if self._ended is None else self._ended) - self._started,
                phase_times=dict(self._phases),
                segments_processed=self._segments[True],
                segments_failed=self._segments[False],
                concurrent_efficiency=self._busy / self._offered if self._offered else None,
                speedup=self._busy / self._elapsed if self._elapsed else None,
                memory_peak_mb=peak_memory_mb(),
                errors=dict(self._errors),
                retries_performed=self._retries,
            )

    def report(self) -> str:
        """For people, to be printed."""
        return render(self.stats())


def render(stats: ProcessingStats) -> str:
    width = max((len(phase) for phase in stats.phase_times), default=0) + 2
    lines = [f"total                 {stats.total_time:9.2f} s"]
    lines += [
        f"  {phase:<{max(width, 20)}}{seconds:9.2f} s  {_share(seconds, stats.total_time)}"
        for phase, seconds in sorted(stats.phase_times.items(), key=lambda item: -item[1])
    ]
    failed = f", {stats.segments_failed} failed" if stats.segments_failed else ""
    lines.append(f"segments              {stats.segments_processed:9d}{failed}")
    if stats.concurrent_efficiency is not None:
        lines.append(f"concurrent efficiency {stats.concurrent_efficiency:9.0%}  {stats.speedup:.1f} at a time")
    lines.append(f"peak memory           {stats.memory_peak_mb:9.0f} MiB")
    kinds = ", ".join(f"{category} {count}" for category, count in sorted(stats.errors.items()))
    lines.append(f"errors                {stats.errors_encountered:9d}{'  ' + kinds if kinds else ''}")
    lines.append(f"retries               {stats.retries_performed:9d}")
    return "\n".join(lines)


def _share(seconds: float, total: float) -> str:
    return f"{seconds / total:4.0%}" if total else "   -"


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


current_tracker: Final[ContextVar[PerformanceTracker | None]] = ContextVar("otel_latency_tracker", default=None)


@contextmanager
def track(phase: str) -> Iterator[None]:
    """Time a phase of the current tracker's job, as a stage."""
    tracker = current_tracker.get()
    with Stage(phase) if tracker is None else tracker.track(phase):
        yield
