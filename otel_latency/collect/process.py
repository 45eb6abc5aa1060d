"""Processes: the agent itself (`process="agent"`) and those whose command name is listed, from /proc by way of psutil.

A name is what `ps -e` shows, for a Python program usually `python3`. Processes of one name are added up and counted;
figures that the kernel keeps from us (another user's open files) are left out. New processes are found within ten
seconds; those that end between two polls just stop counting.

Cost: about 0.07 ms per process and poll, plus 0.06 ms per process on the machine every ten seconds if names are listed.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import psutil

from otel_latency.records import Sample

AGENT: Final = "agent"
_RESCAN: Final = 10.0


class Usage(NamedTuple):
    """One process now; None is what may not be read."""

    cpu_seconds: float
    resident_bytes: int
    threads: int
    open_fds: int | None


class ProcessCollector:
    """Polls the agent and every process called one of *names*; *monotonic* gives the seconds between polls."""

    def __init__(self, names: Sequence[str], monotonic: Callable[[], float]) -> None:
        self._names = names
        self._monotonic = monotonic
        self._processes: list[tuple[str, psutil.Process]] = []
        self._scanned: float | None = None
        self._cpu_seconds: dict[int, float] = {}
        self._time = 0.0

    def collect(self) -> Iterable[Sample]:
        now = self._monotonic()
        self._rescan(now)
        usages = [(label, process.pid, read(process)) for label, process in self._processes]
        before, elapsed = self._cpu_seconds, now - self._time
        self._cpu_seconds, self._time = {pid: usage.cpu_seconds for _, pid, usage in usages if usage}, now
        for label in dict.fromkeys((AGENT, *self._names)):
            group = {pid: usage for each, pid, usage in usages if each == label and usage}
            yield from _levels(label, list(group.values()))
            seconds = [usage.cpu_seconds - before[pid] for pid, usage in group.items() if pid in before]
            if seconds and elapsed > 0:
                yield _cpu(label, sum(seconds) / elapsed)
        yield _max_fds()

    def close(self) -> None:
        """Nothing is held open."""

    def _rescan(self, now: float) -> None:
        if self._scanned is None or (self._names and now - self._scanned >= _RESCAN):
            self._scanned = now
            self._processes = list(find(self._names))


def find(names: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """The agent (the calling process), then all others that have one of *names*."""
    this = psutil.Process()
    yield AGENT, this
    if names:
        for process in psutil.process_iter(["name"]):
            if process.pid != this.pid and process.info["name"] in names:
                yield process.info["name"], process


def read(process: psutil.Process) -> Usage | None:
    """What the process uses; None once it has ended."""
    try:
        with process.oneshot():
            times = process.cpu_times()
            return Usage(
                times.user + times.system, process.memory_info().rss, process.num_threads(), _open_fds(process)
            )
    except psutil.Error:
        return None


def _open_fds(process: psutil.Process) -> int | None:
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return None


def _max_fds() -> Sample:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Sample(
        "otel_latency_process_max_fds", limit, {"process": AGENT}, help="How many files the agent may have open."
    )


def _cpu(label: str, cores: float) -> Sample:
    return Sample(
        "otel_latency_process_cpu_utilization_ratio",
        max(cores, 0.0),
        {"process": label},
        help="CPU time over elapsed time: 1 is one core kept busy.",
    )


def _levels(label: str, usages: Sequence[Usage]) -> Iterator[Sample]:
    labels = {"process": label}
    open_fds = [usage.open_fds for usage in usages if usage.open_fds is not None]
    yield Sample("otel_latency_process_instances", len(usages), labels, help="Running processes of this name.")
    if usages:
        resident = sum(usage.resident_bytes for usage in usages)
        threads = sum(usage.threads for usage in usages)
        yield Sample("otel_latency_process_resident_memory_bytes", resident, labels, help="Memory held in RAM.")
        yield Sample("otel_latency_process_threads", threads, labels, help="Threads of these processes.")
    if open_fds:
        yield Sample("otel_latency_process_open_fds", sum(open_fds), labels, help="Open file descriptors.")
