"""A job's time, by phase, and its report."""

import asyncio
from contextlib import suppress

from otel_latency.instrument.tracker import PerformanceTracker, ProcessingStats, current_tracker, render, track

STATS = ProcessingStats(
    total_time=10.0,
    phase_times={"transcribe": 6.0, "summarise": 3.5},
    segments_processed=11,
    segments_failed=1,
    concurrent_efficiency=0.8,
    speedup=4.0,
    memory_peak_mb=512.4,
    errors={"api": 1, "network": 2},
    retries_performed=4,
)
REPORT = """\
total                     10.00 s
  transcribe               6.00 s   60%
  summarise                3.50 s   35%
segments                     11, 1 failed
concurrent efficiency       80%  4.0 at a time
peak memory                 512 MiB
errors                        3  api 1, network 2
retries                       4"""


class Now:
    now = 0.0

    def __call__(self):
        return self.now


def test_report():
    """Phases by their length, then what happened; to be printed."""
    assert REPORT == render(STATS)


def test_phases(spans):
    """A phase that ran twice has the sum, also when it failed; each run is a stage."""
    clock = Now()
    with PerformanceTracker(monotonic=clock) as tracker:
        with track("transcribe"):
            clock.now += 2
        with suppress(ValueError), track("transcribe"):
            clock.now += 1
            raise ValueError
        with track("summarise"):
            clock.now += 4
    clock.now += 100
    stats = tracker.stats()
    assert (7.0, {"transcribe": 3.0, "summarise": 4.0}) == (stats.total_time, stats.phase_times)
    assert ["transcribe", "transcribe", "summarise"] == [span.name for span in spans]


def test_without_tracker(spans):
    """`track` alone is a stage."""
    with track("transcribe"):
        pass
    assert (["transcribe"], None) == ([span.name for span in spans], current_tracker.get())


async def test_tasks():
    """Tasks started inside report to the tracker around them; trackers beside each other do not mix."""

    async def job(name):
        with PerformanceTracker() as tracker:
            await asyncio.gather(*(phase(f"{name}{each}") for each in range(2)))
        return set(tracker.stats().phase_times)

    async def phase(name):
        with track(name):
            await asyncio.sleep(0)

    assert [{"a0", "a1"}, {"b0", "b1"}] == await asyncio.gather(job("a"), job("b"))


def test_memory():
    """The peak is that of this process, in MiB."""
    assert 10 < PerformanceTracker().stats().memory_peak_mb < 100_000
