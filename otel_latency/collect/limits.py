"""Whether the machine or the cgroup runs short of memory, CPU or disk, or is overloaded.

Pure: it reads the latest values and says, per resource, `ok` or `degraded` with the reason. For /status only: a busy
machine is news, but no cause to take a pod out of service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from otel_latency.records import Family, ValueSeries


class Limit(NamedTuple):
    """Series of `metric` beyond `bound` mean that `resource` is short; above it, or below it where `is_floor`."""

    resource: str
    metric: str
    bound: float
    is_floor: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """One resource: `status` is ok or degraded, `reason` is empty while it is ok."""

    resource: str
    status: str
    reason: str = ""


LOAD_PER_CPU: Final = 2.0
LIMITS: Final = (
    Limit("memory", "otel_latency_host_memory_utilization_ratio", 0.9),
    Limit("memory", "otel_latency_container_memory_utilization_ratio", 0.9),
    Limit("cpu", "otel_latency_host_cpu_utilization_ratio", 0.95),
    Limit("cpu", "otel_latency_container_cpu_utilization_ratio", 0.95),
    Limit("cpu", "otel_latency_container_cpu_throttled_ratio", 0.25),
    Limit("disk", "otel_latency_host_disk_free_ratio", 0.1, is_floor=True),
)


def judge(families: Iterable[Family], *, cpus: int, limits: Iterable[Limit] = LIMITS) -> list[Judgement]:
    """One judgement per resource that was measured. Load is judged by what *cpus* can carry."""
    by_name = {family.name: family for family in families}
    shortages: dict[str, list[str]] = {}
    for limit in (*limits, Limit("load", "otel_latency_host_load1", LOAD_PER_CPU * cpus)):
        if (family := by_name.get(limit.metric)) is not None:
            shortages.setdefault(limit.resource, []).extend(_beyond(limit, family))
    return [
        Judgement(resource, "degraded" if reasons else "ok", "; ".join(reasons))
        for resource, reasons in shortages.items()
    ]


def _beyond(limit: Limit, family: Family) -> Iterator[str]:
    """In words, each series that is beyond the limit."""
    for series in family.series:
        if not isinstance(series, ValueSeries):
            continue
        place = "".join(f" of {value}" for _, value in series.labels)
        if limit.is_floor and series.value < limit.bound:
            yield f"{family.name}{place} is {series.value:.3g}, below {limit.bound:g}"
        elif not limit.is_floor and series.value > limit.bound:
            yield f"{family.name}{place} is {series.value:.3g}, above {limit.bound:g}"
