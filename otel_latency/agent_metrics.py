"""The agent's figures about itself: `otel_latency_agent_*` and `otel_latency_build_info`.

They live in a prometheus_client registry of their own, without the process and platform metrics of the global one.
Whoever counts keeps plain counters; they are read when somebody looks, so counting costs nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

Read = Callable[[], Mapping[Any, float]]
"""Running totals by the value of the label, or by the tuple of values where there are several."""

_PREFIX: Final = "otel_latency_agent_"
_LATENESS_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class _Total(NamedTuple):
    labels: str
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
    "notifications": _Total("notifier outcome", "Notifications that were delivered, retried, given up or dropped."),
    "rule_missed_evaluations": _Total("group", "Evaluations that were left out because those before took too long."),
    "acked_nondurable_spans": _Total("", "Spans acknowledged while they were in memory only, for want of a disk."),
    "forwarded_spans": _Total("destination", "Spans that a destination has taken."),
    "forward_dropped_items": _Total("destination reason", "Items that a destination refused, or that the log let go."),
    "forward_dropped_spans": _Total("destination reason", "Spans that a destination refused, or that the log let go."),
    "forward_recovered_spans": _Total("destination", "Spans that a former run had accepted and not forwarded."),
    "recovered_items": _Total("signal", "Items accepted by a former run and counted by this one."),
    "unassembled_spans": _Total("reason", "Spans that were counted and are in no turn."),
    "unlearnt_operations": _Total("reason", "Calls and stages that forecasts did not learn from."),
    "unpriced_calls": _Total("reason", "Calls of models whose price was not looked up, since there were too many."),
    "history_dropped": _Total("reason", "What the history does not keep, or gave up before its time to make room."),
    "overflowed_series": _Total("kind", "Times a new label set found no room and was counted in an overflow series."),
}


_GAUGES: Final = {
    "rules": "Alerting and recording rules that are evaluated.",
    "rules_failing": "Rules that could not be evaluated when they were last due.",
    "rules_reload_successful": "Whether the rule files were right when they were last read.",
    "queued_notifications": "Notifications on their way.",
    "turn_sampling_ratio": "The part of all traces that turns, forecasts and the history's operations are made of.",
    "history_bytes": "What the history takes on disk.",
    "forward_queue_bytes": "What accepted requests take in the log.",
}


_LABELLED_GAUGES: Final = {"queued_spans": _Total("destination", "Spans that wait for a destination.")}


class AgentMetrics:
    """The registry, and what fills it.

    *totals* names the sources by the keys of the table above: `{"dropped_spans": lambda: aggregator.dropped}`. A
    source answers running totals by label value, and may be absent until there is somebody who counts. *gauges* does
    so for single values, *labelled_gauges* by the value of their label.
    """

    def __init__(
        self,
        *,
        version: str,
        series: Callable[[], float],
        totals: Mapping[str, Read],
        gauges: Mapping[str, Callable[[], float]] | None = None,
        labelled_gauges: Mapping[str, Read] | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        self._series = series
        self._totals = {name: (_TOTALS[name], read) for name, read in totals.items()}
        self._labelled_gauges = labelled_gauges or {}
        self._worst_lateness = 0.0
        build = Gauge("otel_latency_build_info", "The running version.", ["version"], registry=self.registry)
        build.labels(version).set(1)
        self._gauge("series", "Label sets held by the aggregator.").set_function(series)
        self._gauge("resident_memory_bytes", "Resident memory of the agent.").set_function(resident_memory_bytes)
        for name, read in (gauges or {}).items():
            self._gauge(name, _GAUGES[name]).set_function(read)
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

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client asks of a custom collector."""
        for name, read in self._labelled_gauges.items():
            label, text = _LABELLED_GAUGES[name]
            gauge = GaugeMetricFamily(_PREFIX + name, text, labels=[label])
            for value, amount in dict(read()).items():
                gauge.add_metric([value], amount)
            yield gauge
        for name, (total, read) in self._totals.items():
            family = CounterMetricFamily(_PREFIX + name, total.help, labels=total.labels.split())
            for values, count in dict(read()).items():
                family.add_metric([values] if isinstance(values, str) else values, count)
            yield family

    def figures(self) -> dict[str, object]:
        """The same as plain values, for /status."""
        totals = {f"{name}_total": _plain(read()) for name, (_, read) in self._totals.items()}
        return {
            **totals,
            "series": self._series(),
            "resident_memory_bytes": resident_memory_bytes(),
            "worst_tick_lateness_seconds": self._worst_lateness,
        }

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(_PREFIX + name, text, registry=self.registry)


def _plain(totals: Mapping[Any, float]) -> dict[str, float]:
    return {key if isinstance(key, str) else " ".join(key): count for key, count in totals.items()}


def resident_memory_bytes() -> int:
    """What of this process is in memory now, shared pages included."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
