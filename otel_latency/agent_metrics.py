"""The agent's figures about itself: `otel_latency_agent_*` and `otel_latency_build_info`.

They live in a prometheus_client registry of their own, without the process and platform metrics of the global one.
Whoever counts keeps plain counters; they are read when somebody looks, so counting costs nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily

Read = Callable[[], Mapping[str, float]]

_PREFIX: Final = "otel_latency_agent_"
_LATENESS_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class _Total(NamedTuple):
    label: str
    help: str


_TOTALS: Final = {
    "received_spans": _Total("transport", "Spans taken in."),
    "received_metric_points": _Total("transport", "Data points of metrics taken in."),
    "received_log_records": _Total("transport", "Log records taken in."),
    "rejected_spans": _Total("reason", "Spans refused; the sender was told."),
    "rejected_metric_points": _Total("reason", "Data points refused; the sender was told."),
    "rejected_log_records": _Total("reason", "Log records refused; the sender was told."),
    "dropped_spans": _Total("reason", "Spans taken in and then not counted."),
    "dropped_metric_points": _Total("reason", "Data points taken in and then not shown."),
    "dropped_operations": _Total("reason", "Running operations no longer or not at all watched."),
    "adjusted_spans": _Total("reason", "Spans counted with their times corrected."),
    "overflowed_series": _Total("kind", "Times a new label set found no room and was counted in an overflow series."),
}


class AgentMetrics:
    """The registry, and what fills it.

    *totals* names the sources by the keys of the table above: `{"dropped_spans": lambda: aggregator.dropped}`. A
    source answers running totals by label value, and may be absent until there is somebody who counts.
    """

    def __init__(self, *, version: str, series: Callable[[], float], totals: Mapping[str, Read]) -> None:
        self.registry = CollectorRegistry()
        self._series = series
        self._totals = {name: (_TOTALS[name], read) for name, read in totals.items()}
        self._worst_lateness = 0.0
        build = Gauge("otel_latency_build_info", "The running version.", ["version"], registry=self.registry)
        build.labels(version).set(1)
        self._gauge("series", "Label sets held by the aggregator.").set_function(series)
        self._gauge("resident_memory_bytes", "Resident memory of the agent.").set_function(resident_memory_bytes)
        self._lateness = Histogram(
            _PREFIX + "tick_lateness_seconds",
            "How long after its grid point each tick fired.",
            buckets=_LATENESS_BOUNDS,
            registry=self.registry,
        )
        self.registry.register(self)

    def ticked(self, lateness: float) -> None:
        """A tick fired *lateness* seconds after its time."""
        self._lateness.observe(lateness)
        self._worst_lateness = max(self._worst_lateness, lateness)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """What prometheus_client asks of a custom collector."""
        for name, (total, read) in self._totals.items():
            family = CounterMetricFamily(_PREFIX + name, total.help, labels=[total.label])
            for value, count in dict(read()).items():
                family.add_metric([value], count)
            yield family

    def figures(self) -> dict[str, object]:
        """The same as plain values, for /status."""
        totals = {f"{name}_total": dict(read()) for name, (_, read) in self._totals.items()}
        return {
            **totals,
            "series": self._series(),
            "resident_memory_bytes": resident_memory_bytes(),
            "worst_tick_lateness_seconds": self._worst_lateness,
        }

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(_PREFIX + name, text, registry=self.registry)


def resident_memory_bytes() -> int:
    """What of this process is in memory now, shared pages included."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
