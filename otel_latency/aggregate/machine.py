"""The machine for the live page: what the collectors measured last, in one document.

A container's own figures stand beside its host's, since only one of them explains a slow turn. What was not measured is
null, or an empty list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from otel_latency.records import Family, ValueSeries

JSON = dict[str, object]

_FIGURES: Final = {
    "host_cpu_ratio": "otel_latency_host_cpu_utilization_ratio",
    "host_memory_ratio": "otel_latency_host_memory_utilization_ratio",
    "load1": "otel_latency_host_load1",
    "container_cpu_ratio": "otel_latency_container_cpu_utilization_ratio",
    "container_memory_ratio": "otel_latency_container_memory_utilization_ratio",
    "throttled_ratio": "otel_latency_container_cpu_throttled_ratio",
}
_GPU: Final = {
    "up": "otel_latency_gpu_up",
    "utilization_ratio": "otel_latency_gpu_utilization_ratio",
    "memory_used_bytes": "otel_latency_gpu_memory_used_bytes",
    "memory_total_bytes": "otel_latency_gpu_memory_total_bytes",
    "temperature_celsius": "otel_latency_gpu_temperature_celsius",
    "power_watts": "otel_latency_gpu_power_watts",
}
_DISK: Final = "otel_latency_host_disk_free_ratio"
_PRESSURE: Final = "otel_latency_container_pressure_ratio"

_Values = Mapping[str, list[ValueSeries]]


def machine(families: Iterable[Family]) -> JSON:
    """*families* are those of the collectors' samples; others do no harm."""
    values = {
        family.name: [one for one in family.series if isinstance(one, ValueSeries)]
        for family in families
        if family.name.startswith("otel_latency_")
    }
    return {
        **{key: _only(values, name) for key, name in _FIGURES.items()},
        "disk_free_ratio": min((one.value for one in values.get(_DISK, ())), default=None),
        "pressure": {_text(one): one.value for one in values.get(_PRESSURE, ())},
        "gpus": _gpus(values),
    }


def _gpus(values: _Values) -> list[JSON]:
    found: defaultdict[str, JSON] = defaultdict(lambda: dict.fromkeys(_GPU))
    for key, name in _GPU.items():
        for one in values.get(name, ()):
            found[_text(one)][key] = one.value
    return [{"gpu": gpu, **figures} for gpu, figures in sorted(found.items())]


def _only(values: _Values, name: str) -> float | None:
    found = values.get(name)
    return found[0].value if found else None


def _text(series: ValueSeries) -> str:
    """Its labels' values; most have one."""
    return " ".join(value for _, value in series.labels)
