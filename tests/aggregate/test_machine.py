"""The collectors' families as the one document that the live page shows."""

from otel_latency.aggregate.machine import machine
from otel_latency.records import Family, ValueSeries


def gauge(name, **values):
    """A family of one series for each label."""
    series = [ValueSeries((("label", label),) if label != "all" else (), value) for label, value in values.items()]
    return Family(f"otel_latency_{name}", "gauge", "", series)


def test_nothing_measured():
    """What was not measured is null or empty, never zero."""
    figures = ("host_cpu_ratio", "host_memory_ratio", "load1", "container_cpu_ratio", "container_memory_ratio")
    empty = dict.fromkeys((*figures, "throttled_ratio", "disk_free_ratio"))
    assert {**empty, "pressure": {}, "gpus": []} == machine([Family("shop_queue", "gauge", "", [])])


def test_everything_measured():
    """Single figures, the fullest disk, pressure by resource and GPUs one by one."""
    found = machine(
        [
            gauge("host_cpu_utilization_ratio", all=0.5),
            gauge("container_cpu_throttled_ratio", all=0.25),
            gauge("host_disk_free_ratio", root=0.5, data=0.125),
            gauge("container_pressure_ratio", cpu=0.1, io=0.2),
            gauge("gpu_utilization_ratio", one=0.75, nought=0.0),
            gauge("gpu_memory_used_bytes", one=2.0**30),
        ]
    )
    unknown = dict.fromkeys(("up", "memory_used_bytes", "memory_total_bytes", "temperature_celsius", "power_watts"))
    assert (0.5, 0.25, 0.125, {"cpu": 0.1, "io": 0.2}) == (
        found["host_cpu_ratio"],
        found["throttled_ratio"],
        found["disk_free_ratio"],
        found["pressure"],
    )
    assert [
        {**unknown, "gpu": "nought", "utilization_ratio": 0.0},
        {**unknown, "gpu": "one", "utilization_ratio": 0.75, "memory_used_bytes": 2.0**30},
    ] == found["gpus"]
