"""The machine: CPU, memory, load, disks and network, from /proc by way of psutil.

Ratios cover the time since the poll before, so the first poll has none. Disks are real filesystems (what psutil calls
physical) plus `/`, one per device; loopback and per-container interfaces are left out. Network utilization is given
where the link's speed is known. Mount points and link speeds are read again once a minute.

Cost: about 0.1 ms per poll, 0.2 ms more once a minute; nothing is kept but the counters of the last poll.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from otel_latency.records import Sample

_REFRESH: Final = 60.0
_VIRTUAL_INTERFACES: Final = ("lo", "ifb", "veth", "cali", "cilium", "lxc", "flannel", "tunl")
_IMAGE_FILESYSTEMS: Final = ("squashfs", "iso9660", "erofs")
"""Read-only images are always full; that is no news."""


class CPUTimes(NamedTuple):
    """Seconds since boot, summed over all CPUs."""

    busy: float
    total: float


class Traffic(NamedTuple):
    """Bytes through one interface since boot."""

    received: int
    sent: int


class HostCollector:
    """Polls the machine; *monotonic* gives the seconds that network rates are measured by."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._cpu: CPUTimes | None = None
        self._traffic: dict[str, Traffic] = {}
        self._traffic_time = 0.0
        self._refreshed: float | None = None
        self._mountpoints: list[str] = []
        self._bytes_per_second: dict[str, float] = {}

    def collect(self) -> Iterable[Sample]:
        now = self._monotonic()
        if self._refreshed is None or now - self._refreshed >= _REFRESH:
            self._refreshed = now
            self._mountpoints = mountpoints(each[:3] for each in psutil.disk_partitions(all=False))
            self._bytes_per_second = link_speeds()
        return [*self._processor(), *_memory(), *disk_samples(self._mountpoints), *self._network(now)]

    def close(self) -> None:
        """Nothing is held open."""

    def _processor(self) -> Iterator[Sample]:
        before, self._cpu = self._cpu, cpu_times()
        if before is not None and (ratio := busy_ratio(before, self._cpu)) is not None:
            yield Sample(
                "otel_latency_host_cpu_utilization_ratio", ratio, help="Share of all CPUs' time that was not idle."
            )
        yield Sample("otel_latency_host_load1", os.getloadavg()[0], help="Load average over one minute.")

    def _network(self, now: float) -> Iterator[Sample]:
        before, elapsed = self._traffic, now - self._traffic_time
        self._traffic, self._traffic_time = traffic(), now
        for interface, after in self._traffic.items():
            yield from interface_samples(interface, after, before.get(interface), elapsed * self._capacity(interface))

    def _capacity(self, interface: str) -> float:
        return self._bytes_per_second.get(interface, 0.0)


def cpu_times() -> CPUTimes:
    """Read now. Not `psutil.cpu_percent`: that keeps its last reading per thread, and polls move between threads."""
    times = psutil.cpu_times()
    # The kernel counts guest time inside user and nice as well.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CPUTimes(total - times.idle - getattr(times, "iowait", 0.0), total)


def busy_ratio(before: CPUTimes, after: CPUTimes) -> float | None:
    """The busy share between two readings; None when no time passed. iowait can step back, so it is clamped."""
    elapsed = after.total - before.total
    return min(max((after.busy - before.busy) / elapsed, 0.0), 1.0) if elapsed > 0 else None


def mountpoints(partitions: Iterable[tuple[str, str, str]]) -> list[str]:
    """`/` and one directory for each other device; a partition is its device, mount point and filesystem type.

    In a container the runtime bind-mounts single files (/etc/hosts): they are no place to run full.
    """
    chosen = {"": "/"}
    for device, directory, kind in sorted(partitions, key=lambda each: len(each[1])):
        if directory == "/":
            chosen = {device: "/"}
        elif device not in chosen and kind not in _IMAGE_FILESYSTEMS and Path(directory).is_dir():
            chosen[device] = directory
    return list(chosen.values())


def link_speeds() -> dict[str, float]:
    """Bytes per second of every interface whose driver knows its speed (virtual ones mostly do not)."""
    return {name: stats.speed * 1e6 / 8 for name, stats in psutil.net_if_stats().items() if 0 < stats.speed < 65535}


def traffic() -> dict[str, Traffic]:
    """Counters of the interfaces worth watching."""
    return {
        name: Traffic(count.bytes_recv, count.bytes_sent)
        for name, count in psutil.net_io_counters(pernic=True).items()
        if not name.startswith(_VIRTUAL_INTERFACES)
    }


def _memory() -> Iterator[Sample]:
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    yield Sample(
        "otel_latency_host_memory_utilization_ratio",
        used / memory.total,
        help="Share of memory that cannot be had without swapping.",
    )
    yield Sample("otel_latency_host_memory_used_bytes", used, help="Memory that cannot be had without swapping.")


def disk_samples(directories: Iterable[str]) -> Iterator[Sample]:
    for directory in directories:
        try:
            usage = psutil.disk_usage(directory)
        except OSError:
            continue  # unmounted since the last refresh
        if usage.used + usage.free > 0:
            yield Sample(
                "otel_latency_host_disk_free_ratio",
                usage.free / (usage.used + usage.free),
                {"mountpoint": directory},
                help="Share of the filesystem that unprivileged users may still fill.",
            )


def interface_samples(name: str, after: Traffic, before: Traffic | None, capacity: float) -> Iterator[Sample]:
    """*capacity* is what the link could have carried since *before*, in bytes; 0 when unknown."""
    for direction, total, earlier in (
        ("receive", after.received, before.received if before else None),
        ("transmit", after.sent, before.sent if before else None),
    ):
        labels = {"interface": name, "direction": direction}
        yield Sample(
            "otel_latency_host_network_bytes_total",
            total,
            labels,
            is_counter=True,
            help="Bytes through the interface since boot.",
        )
        if earlier is not None and capacity > 0:
            yield Sample(
                "otel_latency_host_network_utilization_ratio",
                max(total - earlier, 0) / capacity,
                labels,
                help="Share of the link's speed in use.",
            )
