"""Judging the machine."""

import pytest

from otel_latency.collect.limits import Judgement, judge
from otel_latency.records import Family, ValueSeries


def families(**values):
    """Gauges by short name: a number, or a dict of mount point to number."""
    return [
        Family(
            f"otel_latency_{name}",
            "gauge",
            "",
            [ValueSeries((("mountpoint", at),), one) for at, one in value.items()]
            if isinstance(value, dict)
            else [ValueSeries((), value)],
        )
        for name, value in values.items()
    ]


CASES = {
    "nothing measured": ({}, []),
    "all is well": (
        {"host_memory_utilization_ratio": 0.9, "host_cpu_utilization_ratio": 0.95, "host_load1": 4.0},
        [Judgement("memory", "ok"), Judgement("cpu", "ok"), Judgement("load", "ok")],
    ),
    "overloaded": (
        {"host_load1": 4.5},
        [Judgement("load", "degraded", "otel_latency_host_load1 is 4.5, above 4")],
    ),
    "the container is worse off than its host": (
        {"host_memory_utilization_ratio": 0.2, "container_memory_utilization_ratio": 0.97},
        [Judgement("memory", "degraded", "otel_latency_container_memory_utilization_ratio is 0.97, above 0.9")],
    ),
    "two reasons": (
        {"host_cpu_utilization_ratio": 0.99, "container_cpu_throttled_ratio": 0.5},
        [
            Judgement(
                "cpu",
                "degraded",
                "otel_latency_host_cpu_utilization_ratio is 0.99, above 0.95; "
                "otel_latency_container_cpu_throttled_ratio is 0.5, above 0.25",
            )
        ],
    ),
    "one disk of two is full": (
        {"host_disk_free_ratio": {"/": 0.5, "/data": 0.031}},
        [Judgement("disk", "degraded", "otel_latency_host_disk_free_ratio of /data is 0.031, below 0.1")],
    ),
}


@pytest.mark.parametrize(("values", "expected"), CASES.values(), ids=CASES)
def test_judge(values, expected):
    """Each measured resource is ok or degraded; a reason names series, value and bound. Load is per CPU: here two."""
    assert expected == judge(families(**values), cpus=2)
