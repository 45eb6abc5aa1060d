"""The cgroup that the agent runs in, v1, v2 or hybrid: CPU throttling, working set, limits and pressure.

In a sidecar that is the agent's own container; on a plain machine it is its service or login session. A figure whose
file is missing (no limit set, no PSI in the kernel, no cgroup at all) is left out. Limits are the tightest on the way
up to the root of what can be seen; ratios cover the time since the poll before, so the first poll has none of those.

Cost: about 0.3 ms per poll, a dozen small files of /sys/fs/cgroup; `locate` runs once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from otel_latency.records import Sample

_UNLIMITED: Final = 1 << 60
"""Memory limits at or above this mean "none": v1 writes the largest multiple of a page that fits in 63 bits."""
_PRESSURE_FILES: Final = {"cpu": "cpu.pressure", "memory": "memory.pressure", "io": "io.pressure"}


@dataclass(frozen=True, slots=True)
class CGroup:
    """Where each controller's files are: own directory first, then its ancestors up to the mount point."""

    cpu: tuple[Path, ...] = ()
    cpuacct: tuple[Path, ...] = ()
    memory: tuple[Path, ...] = ()
    unified: tuple[Path, ...] = ()


class CPU(NamedTuple):
    """A cgroup's CPU seconds so far, the cores it may use, and CFS periods: all, and those it was throttled in."""

    seconds: float | None
    limit: float | None
    periods: int
    throttled: int


class Memory(NamedTuple):
    """Bytes. The working set is what cannot be dropped at once: usage without inactive page cache."""

    working_set: int
    limit: int | None


class Reading(NamedTuple):
    """All that one poll read; `stalled` is seconds lost so far by (resource, kind)."""

    cpu: CPU
    memory: Memory | None
    stalled: Mapping[tuple[str, str], float]


class ContainerCollector:
    """Polls the cgroup found below *root*; *monotonic* gives the seconds that ratios are measured by."""

    def __init__(self, monotonic: Callable[[], float], *, root: Path = Path("/"), cpus: int | None = None) -> None:
        self._monotonic = monotonic
        self._root = root
        self._cgroup: CGroup | None = None
        self._cpus = cpus or os.cpu_count() or 1
        self._before: tuple[float, Reading] | None = None

    def collect(self) -> Iterable[Sample]:
        if self._cgroup is None:
            self._cgroup = locate(self._root)
        now, reading = self._monotonic(), read(self._cgroup)
        before, self._before = self._before, (now, reading)
        yield from _levels(reading)
        if before is not None and now > before[0]:
            yield from _rates(before[1], reading, now - before[0], self._cpus)

    def close(self) -> None:
        """Nothing is held open."""


def locate(root: Path) -> CGroup:
    """Find the cgroup of this process in the /proc and /sys below *root*."""
    memberships = _memberships(_text(root / "proc/self/cgroup"))
    found: dict[str, tuple[Path, ...]] = {}
    for mount in _text(root / "proc/self/mountinfo").splitlines():
        place, _, filesystem = mount.partition(" - ")
        shown, mountpoint = place.split(" ")[3:5]
        for controller in _controllers(*filesystem.split(" ")):
            if controller in memberships:
                directory = root / mountpoint.lstrip("/")
                found.setdefault(controller, _directories(directory, _below(memberships[controller], shown)))
    if memberships.get("cpuacct") != memberships.get("cpu"):
        found.pop("cpuacct", None)  # usage of one group over the quota of another would be no ratio
    unified = found.get("unified", ())
    return CGroup(
        cpu=found.get("cpu", unified),
        cpuacct=found.get("cpuacct", ()),
        memory=found.get("memory", unified),
        unified=unified,
    )


def read(cgroup: CGroup) -> Reading:
    """Everything at this moment; reads files and nothing else."""
    return Reading(_cpu(cgroup), _memory(cgroup.memory), _stalled(cgroup.unified))


def _memberships(text: str) -> dict[str, str]:
    """Controller -> path of this process in its hierarchy; v2 is `unified`."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {controller or "unified": path for _, controllers, path in rows for controller in controllers.split(",")}


def _controllers(kind: str, _source: str, options: str) -> list[str]:
    """What a mount of this filesystem type serves; nothing when it is no cgroup."""
    if kind == "cgroup2":
        return ["unified"]
    return options.split(",") if kind == "cgroup" else []


def _below(path: str, shown: str) -> PurePosixPath:
    """*path* as seen by a mount that shows the part *shown* of the hierarchy.

    In a container without its own cgroup namespace /proc still names the whole path: what the mount hides is taken
    off. A path elsewhere (also the `/..` of a process that was moved out) becomes the mount itself.
    """
    whole = PurePosixPath(path)
    if ".." in whole.parts or not whole.is_relative_to(shown):
        return PurePosixPath()
    return whole.relative_to(shown)


def _directories(mountpoint: Path, below: PurePosixPath) -> tuple[Path, ...]:
    own = [mountpoint / below, *(mountpoint / parent for parent in below.parents)]
    return tuple(directory for directory in own if directory.is_dir())


def _cpu(cgroup: CGroup) -> CPU:
    """Usage of the own directory; throttling as counted where the tightest quota is set."""
    if not cgroup.cpu:
        return CPU(None, None, 0, 0)
    quotas = {each: quota for each in cgroup.cpu if (quota := _quota(each)) is not None}
    limited = min(quotas, key=quotas.__getitem__, default=cgroup.cpu[0])
    stat = _table(limited / "cpu.stat")
    return CPU(_cpu_seconds(cgroup), quotas.get(limited), stat.get("nr_periods", 0), stat.get("nr_throttled", 0))


def _cpu_seconds(cgroup: CGroup) -> float | None:
    if cgroup.cpuacct:
        nanoseconds = _number(cgroup.cpuacct[0] / "cpuacct.usage")
        return None if nanoseconds is None else nanoseconds / 1e9
    microseconds = _table(cgroup.cpu[0] / "cpu.stat").get("usage_usec")
    return None if microseconds is None else microseconds / 1e6


def _quota(directory: Path) -> float | None:
    """Cores that a directory's CFS quota allows; None for no quota (v2 writes `max`, v1 -1)."""
    both = _text(directory / "cpu.max").split()
    if not both:
        both = [_text(directory / f"cpu.cfs_{each}_us").strip() for each in ("quota", "period")]
    quota, period = both
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _memory(directories: tuple[Path, ...]) -> Memory | None:
    if not directories:
        return None
    own = directories[0]
    used = _first_number(own / "memory.current", own / "memory.usage_in_bytes")
    if used is None:
        return None  # the root of v2 counts nothing
    stat = _table(own / "memory.stat")
    inactive = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    limits = [_first_number(each / "memory.max", each / "memory.limit_in_bytes") for each in directories]
    known = [limit for limit in (*limits, stat.get("hierarchical_memory_limit")) if limit and limit < _UNLIMITED]
    return Memory(max(used - inactive, 0), min(known, default=None))


def _stalled(directories: tuple[Path, ...]) -> dict[tuple[str, str], float]:
    """Seconds that tasks waited for a resource since the cgroup began: `some` of them, or all of them (`full`)."""
    if not directories:
        return {}
    return {
        (resource, kind): float(fields.rpartition("total=")[2]) / 1e6
        for resource, file in _PRESSURE_FILES.items()
        for kind, _, fields in (line.partition(" ") for line in _text(directories[0] / file).splitlines())
    }


def _levels(reading: Reading) -> Iterator[Sample]:
    if reading.cpu.limit is not None:
        yield Sample(
            "otel_latency_container_cpu_limit_cores", reading.cpu.limit, help="CPUs that the cgroup's quota allows."
        )
    if reading.memory is None:
        return
    working_set, limit = reading.memory
    yield Sample(
        "otel_latency_container_memory_working_set_bytes",
        working_set,
        help="Memory of the cgroup without inactive page cache.",
    )
    if limit is not None:
        yield Sample("otel_latency_container_memory_limit_bytes", limit, help="Tightest memory limit of the cgroup.")
        yield Sample(
            "otel_latency_container_memory_utilization_ratio", working_set / limit, help="Working set over limit."
        )


def _rates(before: Reading, after: Reading, elapsed: float, cpus: int) -> Iterator[Sample]:
    if before.cpu.seconds is not None and after.cpu.seconds is not None:
        yield Sample(
            "otel_latency_container_cpu_utilization_ratio",
            max(after.cpu.seconds - before.cpu.seconds, 0.0) / elapsed / (after.cpu.limit or cpus),
            help="CPU time of the cgroup over its limit, or over all CPUs where it has none.",
        )
    if after.cpu.limit is not None:
        periods = after.cpu.periods - before.cpu.periods
        yield Sample(
            "otel_latency_container_cpu_throttled_ratio",
            (after.cpu.throttled - before.cpu.throttled) / periods if periods > 0 else 0.0,
            help="Share of CFS periods in which the cgroup was held back by its quota.",
        )
    for (resource, kind), seconds in after.stalled.items():
        if (earlier := before.stalled.get((resource, kind))) is not None:
            yield Sample(
                "otel_latency_container_pressure_ratio",
                min(max(seconds - earlier, 0.0) / elapsed, 1.0),
                {"resource": resource, "kind": kind},
                help="Share of time in which some or all (full) tasks waited for the resource: PSI.",
            )


def _text(path: Path) -> str:
    """The file's text, or nothing when it is not there to be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _first_number(*paths: Path) -> int | None:
    return next((number for path in paths if (number := _number(path)) is not None), None)


def _table(path: Path) -> dict[str, int]:
    """A file of `name number` lines."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
