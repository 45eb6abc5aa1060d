"""The last minute in one document, for `/api/v1/overview` and each snapshot of the live page.

    overview.tick(now, families)                    # every few seconds, whether somebody looks or not
    overview.document(now, families, running=..., checks=..., alerts=...)

Rates, ratios, means and counts are what counters, and the counts and sums of histograms, have grown by: over the last
60 to 65 seconds, as `window_seconds` tells, if every tick brings them (histograms need no buckets for it). Percentiles
are those of the summaries over a minute, which a document needs, and of the ticks one in a minute, for the trends.
What is not known is null, never zero.

`error_ratio` is errors and timeouts over all that ended, `success_ratio` the rest without those that were cancelled or
interrupted. A verdict compares a p95 with its target (see `advice`), and comes with what to check. `milestones` has for
each one the turn with the most of them; `turns` has all turns. Trends are told only where they are more than noise.

Cost at 100 label sets: 0.7 ms a document, 0.2 ms a tick; making whole families is several times that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from otel_latency.aggregate.advice import judge
from otel_latency.aggregate.growth import Growth, Key
from otel_latency.aggregate.trends import Minute, Trend, Trends
from otel_latency.aggregate.turn_view import MILESTONES
from otel_latency.config.sections import LatencyTarget
from otel_latency.records import CheckResult, Family, HistogramSeries, Labels, SummarySeries, ValueSeries

JSON = dict[str, object]

WINDOW: Final = "1m"
PERCENTILES: Final = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}
MAX_ERRORS: Final = 10
FAILED: Final = ("error", "timeout")
UNTOLD: Final = ("cancelled", "interrupted")
"""Ends that say nothing of success."""

STAGES: Final = "otel_latency_stage_duration_seconds"
TURNS: Final = "otel_latency_turn_duration_seconds"
WINDOWS: Final = {
    f"{family.removesuffix('_seconds').removesuffix('_duration')}_window_seconds": family
    for family in (STAGES, TURNS, *MILESTONES.values())
}
"""Summaries, and the histograms whose percentiles they tell."""
TOTALS: Final = {
    "turn": "otel_latency_turns_total",
    "stage": "otel_latency_stages_total",
    "llm": "otel_latency_llm_calls_total",
}
SUM_OF_TURNS: Final = f"{TURNS} sum"
CALLS: Final = "gen_ai_client_operation_duration_seconds"
GAUGES: Final = (
    "otel_latency_sessions_active",
    "otel_latency_container_cpu_utilization_ratio",
    "otel_latency_host_cpu_utilization_ratio",
    "otel_latency_container_memory_utilization_ratio",
    "otel_latency_host_memory_utilization_ratio",
    "otel_latency_process_instances",
    "otel_latency_process_cpu_utilization_ratio",
    "otel_latency_process_resident_memory_bytes",
)
CONNECTIONS: Final = ("active_connections", "open_connections")
QUEUES: Final = ("queue_depth", "queue_size", "queue_length")
"""How gauges of the user's own end that tell of connections and queues."""


@dataclass(slots=True)
class _Page:
    """What of the families is looked at."""

    counters: dict[Key, float] = field(default_factory=dict)
    windows: defaultdict[str, dict[Labels, SummarySeries]] = field(default_factory=lambda: defaultdict(dict))
    gauges: defaultdict[str, list[ValueSeries]] = field(default_factory=lambda: defaultdict(list))


class Overview:
    """Remembers what it takes to tell of the last minute; *now* is Unix seconds."""

    def __init__(self, targets: Mapping[str, LatencyTarget]) -> None:
        self._targets = targets
        self._growth = Growth()
        self._trends = Trends()

    def restore(self, counters: Mapping[Key, float]) -> None:
        """Counters of a former run go on from here, and have not grown by that."""
        self._growth.restore(counters)

    def tick(self, now: float, families: Iterable[Family]) -> None:
        """Read what *families* tell; more of them than it takes do no harm."""
        self._take(now, _page(families))

    def document(
        self,
        now: float,
        families: Iterable[Family],
        *,
        running: Sequence[Mapping[str, object]] = (),
        checks: Iterable[CheckResult] = (),
        alerts: Sequence[Mapping[str, object]] = (),
        llm_stages: Collection[tuple[str, str]] = (),
    ) -> JSON:
        """*running* are the rows of `/api/v1/operations/running`, *alerts* those that fire, in Prometheus' shape.

        *llm_stages*, a service and a stage each, are LLM calls, which the families do not tell.
        """
        page = _page(families)
        self._take(now, page)
        turns = self._rows(page, TURNS, "turn")
        stages = [
            self._with_verdict(row, str(row["stage"]), is_llm=_by_name(row) in llm_stages)
            for row in self._rows(page, STAGES, "stage")
        ]
        return {
            "timestamp": now,
            "window_seconds": self._growth.seconds,
            "active_sessions": _sum(page.gauges.get("otel_latency_sessions_active")),
            **self._totals(),
            "stages": sorted(stages, key=_by_name),
            "turns": sorted(turns, key=_busiest),
            "milestones": self._milestones(page),
            "system": _system(page),
            "trends": [_trend(one) for one in self._trends.moved(self._minute(page), now)],
            "top_errors": self._top_errors(),
            "workers": _workers(page),
            "operations": _operations(running),
            "checks": [{"check": one.name, "up": one.up, "seconds": one.seconds, "error": one.error} for one in checks],
            "alerts": list(alerts),
        }

    def _take(self, now: float, page: _Page) -> None:
        self._growth.add(page.counters, now)
        if page.windows:
            self._trends.add(self._minute(page), now)

    def _minute(self, page: _Page) -> dict[Labels, Minute]:
        grown = self._growth.grown
        return {
            labels: Minute(grown.get((STAGES, labels), 0.0), quantiles[0.5], quantiles[0.95])
            for labels, series in page.windows[STAGES].items()
            if isfinite((quantiles := dict(series.quantiles))[0.5])
        }

    def _totals(self) -> JSON:
        """All turns together."""
        ended = self._ended("turn")
        by_status: defaultdict[str, float] = defaultdict(float)
        for statuses in ended.values():
            for status, count in statuses.items():
                by_status[status] += count
        count = sum(by_status.values())
        told = count - sum(by_status[status] for status in UNTOLD)
        failed = sum(by_status[status] for status in FAILED)
        grown = self._growth.grown
        timed = sum(each for (name, _), each in grown.items() if name == TURNS)
        taken = sum(each for (name, _), each in grown.items() if name == SUM_OF_TURNS)
        return {
            "turns_per_second": count / self._growth.seconds if self._growth.seconds else None,
            "success_ratio": (told - failed) / told if told else None,
            "mean_seconds": taken / timed if timed else None,
            "error_ratio": failed / count if count else None,
        }

    def _rows(self, page: _Page, family: str, kind: str) -> list[JSON]:
        """A row for each stage or turn that was seen lately."""
        ended = self._ended(kind)
        rows = []
        for labels, series in page.windows[family].items():
            named = dict(labels)
            statuses = ended.get(labels, {})
            count = sum(statuses.values())
            failed = sum(statuses.get(status, 0.0) for status in FAILED)
            row: JSON = {"service": named.get("service", ""), kind: named.get(kind, ""), "count": round(count)}
            rows.append({**row, **_percentiles(series), "error_ratio": failed / count if count else None})
        return rows

    def _milestones(self, page: _Page) -> JSON:
        found: JSON = {}
        for milestone, family in MILESTONES.items():
            rows = []
            for labels, series in page.windows[family].items():
                count = self._growth.grown.get((family, labels), 0.0)
                rows.append({**dict(labels), "count": round(count), **_percentiles(series)})
            if rows:
                found[milestone] = self._with_verdict(min(rows, key=_busiest), milestone)
        return found

    def _with_verdict(self, row: JSON, name: str, *, is_llm: bool = False) -> JSON:
        seconds = row["p95"]
        assert seconds is None or isinstance(seconds, float)
        return {**row, **judge(name, seconds, self._targets, is_llm=is_llm)._asdict()}

    def _ended(self, kind: str) -> dict[Labels, dict[str, float]]:
        """By labels, how many ended in which way."""
        found: defaultdict[Labels, dict[str, float]] = defaultdict(dict)
        for (name, labels), count in self._growth.grown.items():
            if name == TOTALS[kind]:
                found[labels[:-1]][labels[-1][1]] = count
        return found

    def _top_errors(self) -> list[JSON]:
        """What failed most, the calls of models with the types of their errors."""
        types: defaultdict[Labels, dict[str, int]] = defaultdict(dict)
        for (name, labels), count in self._growth.grown.items():
            if name == CALLS and count and (error := dict(labels).get("error_type")):
                types[_called(labels)][error] = types[_called(labels)].get(error, 0) + round(count)
        rows: list[JSON] = []
        for kind in TOTALS:
            for labels, statuses in self._ended(kind).items():
                errors = types.get(_called(labels), {}) if kind == "llm" else {}
                rows += [
                    {"kind": kind, **dict(labels), "status": status, "count": round(count), "error_types": errors}
                    for status, count in statuses.items()
                    if status in FAILED and count
                ]
        return sorted(rows, key=_busiest)[:MAX_ERRORS]


def _page(families: Iterable[Family]) -> _Page:
    page = _Page()
    for family in families:
        read = _READERS.get(family.name)
        if read is not None:
            read(page, family)
        elif family.type == "gauge" and family.name.endswith(CONNECTIONS + QUEUES):
            _read_gauges(page, family)
    return page


def _read_totals(page: _Page, family: Family) -> None:
    for series in family.series:
        assert isinstance(series, ValueSeries)
        page.counters[family.name, series.labels] = series.value


def _read_histograms(page: _Page, family: Family) -> None:
    for series in family.series:
        assert isinstance(series, HistogramSeries)
        page.counters[family.name, series.labels] = series.count
        if family.name == TURNS:
            page.counters[SUM_OF_TURNS, series.labels] = series.sum


def _read_windows(page: _Page, family: Family) -> None:
    found = page.windows[WINDOWS[family.name]]
    for series in family.series:
        assert isinstance(series, SummarySeries)
        if series.labels[-1] == ("window", WINDOW):
            found[series.labels[:-1]] = series


def _read_gauges(page: _Page, family: Family) -> None:
    page.gauges[family.name] += [series for series in family.series if isinstance(series, ValueSeries)]


_READERS: Final[Mapping[str, Callable[[_Page, Family], None]]] = {
    **dict.fromkeys(TOTALS.values(), _read_totals),
    **dict.fromkeys((CALLS, *WINDOWS.values()), _read_histograms),
    **dict.fromkeys(WINDOWS, _read_windows),
    **dict.fromkeys(GAUGES, _read_gauges),
}


def _percentiles(series: SummarySeries) -> JSON:
    return {PERCENTILES[q]: value if isfinite(value) else None for q, value in series.quantiles if q in PERCENTILES}


def _called(labels: Labels) -> Labels:
    """Service, provider and model of a call, by either of its families' names for them."""
    named = dict(labels)
    provider = named.get("provider", named.get("gen_ai_provider_name", ""))
    model = named.get("model", named.get("gen_ai_request_model", ""))
    return (("service", named.get("service", "")), ("provider", provider), ("model", model))


def _system(page: _Page) -> JSON:
    """A container's own figures come before its host's."""

    def ratio(of: str) -> float | None:
        container, host = (
            _sum(page.gauges.get(f"otel_latency_{where}_{of}_utilization_ratio")) for where in ("container", "host")
        )
        return host if container is None else container

    return {
        "cpu_ratio": ratio("cpu"),
        "memory_ratio": ratio("memory"),
        "connections": _sum_of_own(page, CONNECTIONS),
        "queue": _sum_of_own(page, QUEUES),
    }


def _workers(page: _Page) -> list[JSON]:
    """The watched processes."""
    found: defaultdict[str, JSON] = defaultdict(dict)
    for key in ("instances", "cpu_utilization_ratio", "resident_memory_bytes"):
        for series in page.gauges.get(f"otel_latency_process_{key}", ()):
            found[dict(series.labels).get("process", "")][key] = series.value
    return [
        {
            "worker": name,
            "up": bool(figures.get("instances")),
            "instances": figures.get("instances"),
            "cpu_ratio": figures.get("cpu_utilization_ratio"),
            "resident_memory_bytes": figures.get("resident_memory_bytes"),
        }
        for name, figures in sorted(found.items())
    ]


def _operations(running: Sequence[Mapping[str, object]]) -> JSON:
    elapsed = [float(str(row["elapsed_seconds"])) for row in running]
    return {
        "running": len(running),
        "warning": sum(bool(row["is_warning"]) for row in running),
        "oldest_seconds": max(elapsed, default=None),
    }


def _trend(one: Trend) -> JSON:
    return {
        **dict(one.labels),
        "percentile": one.percentile,
        "before": one.before,
        "now": one.now,
        "ratio": one.ratio,
        "direction": one.direction,
    }


def _sum(series: Sequence[ValueSeries] | None) -> float | None:
    return None if series is None else sum(one.value for one in series)


def _sum_of_own(page: _Page, endings: tuple[str, ...]) -> float | None:
    return _sum([one for name, found in page.gauges.items() if name.endswith(endings) for one in found] or None)


def _busiest(row: Mapping[str, object]) -> tuple[float, str]:
    count = row["count"]
    assert isinstance(count, int)
    return -count, str(sorted(row.items(), key=str))


def _by_name(row: Mapping[str, object]) -> tuple[str, str]:
    return str(row["service"]), str(row["stage"])
