"""Two periods of an agent's history, compared.

While an agent still has every operation of both periods, durations are compared as those of files are, of each stage
and turn that ended well in both: five thousand of each at most. Otherwise, and of milestones always, it has only
sketches, a window each. Windows are never cut: those count that lie within a period as a whole (a minute's, or of long
ago a quarter of an hour's), so that no call counts for both. Each period is cut into sixty pieces, whose medians are
the evidence (neighbours in time are alike, and the tests know), while the percentiles shown are those of all windows
of the period, merged by the agent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil, floor
from typing import Any, Final, NamedTuple

from otel_latency.cli.client import AgentClient, NotFound
from otel_latency.cli.painting import listed
from otel_latency.config.values import Duration
from otel_latency.errors import ConfigError, OtelLatencyError
from otel_latency.significance.comparison import Shift, StageShift
from otel_latency.significance.comparison import compare as compare_samples

SERIES: Final = {
    "otel_latency_stage_duration_seconds": "stage",
    "otel_latency_turn_duration_seconds": "turn",
    "otel_latency_turn_time_to_first_audio_seconds": "turn",
    "otel_latency_turn_time_to_first_token_seconds": "turn",
}
"""What is compared, and the label that names it."""
KINDS: Final = {"otel_latency_turn_duration_seconds": "turn", "otel_latency_stage_duration_seconds": "stage"}
"""Of which of them there may be single operations."""
PIECES: Final = 60
WINDOWS: Final = (60, 900)
"""Seconds of a window in the history: of the last day, and before."""

Point = Mapping[str, Any]
Durations = Mapping[str, Mapping[str, Sequence[float]]]
"""By kind and name, in seconds."""


@dataclass(frozen=True, slots=True)
class Period:
    """Unix seconds, `start` before `end`."""

    start: float
    end: float

    @classmethod
    def parse(cls, text: str, now: float) -> Period:
        """`FROM..TO`. Raises ConfigError."""
        first, dots, last = text.partition("..")
        start, end = (_moment(each.strip(), now) for each in (first, last))
        if not dots or start is None or end is None or start >= end:
            raise ConfigError(f"{text!r} is not a period: write 2h..1h, 90m..now or 2026-11-21T14:00..2026-11-21T15:00")
        return cls(start, end)

    @property
    def length(self) -> float:
        return self.end - self.start

    def whole(self, window: int) -> Period | None:
        """The windows of so many seconds that lie within it as a whole; None where none does."""
        start, end = ceil(self.start / window) * window, floor(self.end / window) * window
        return Period(start, end) if start < end else None

    def holds(self, point: Point) -> bool:
        """Whether the windows of a point lie within it."""
        return bool(self.start <= point["start"] and point["start"] + point["seconds"] <= self.end)


class Comparison(NamedTuple):
    """What moved. Of the stages `by_window` the evidence are medians of windows, which lie in `windows`."""

    shifts: list[StageShift]
    by_window: frozenset[str]
    windows: tuple[Period, Period] | None


class _Windows(NamedTuple):
    """What sketches tell of a period, by name: the medians of its pieces, and the point of all of it."""

    period: Period
    medians: Mapping[str, Sequence[float]]
    whole: Mapping[str, Point]


def compare(url: str, a: str, b: str, *, now: float | None = None) -> Comparison:
    """The shifts from period *a* to period *b* of the agent at *url*."""
    now = time.time() if now is None else now
    periods = [Period.parse(text, now) for text in (a, b)]
    client = AgentClient(url)
    durations = [_durations(client, period) for period in periods]
    kinds = durations[0].keys() & durations[1].keys()
    series = [name for name in SERIES if KINDS.get(name) not in kinds]
    windows = [_windows(client, period, series) for period in periods]
    singles = [dict(pair for kind in kinds for pair in told[kind].items()) for told in durations]
    known = {name for told in singles for name in told}
    evidence = [
        dict(sorted([*told.items(), *(pair for pair in one.medians.items() if pair[0] not in known)]))
        for one, told in zip(windows, singles, strict=True)
    ]
    found = compare_samples(*evidence)
    if not found:
        told = (f"{text} has {listed(has)}" for text, has in zip((a, b), evidence, strict=True))
        raise OtelLatencyError(f"{url}: nothing was measured in both periods: {'; '.join(told)}")
    by_window = frozenset(one.stage for one in found if one.stage not in known)
    before, after = windows
    shifts = [
        _of_the_whole(one, before.whole[one.stage], after.whole[one.stage]) if one.stage in by_window else one
        for one in found
    ]
    return Comparison(shifts, by_window, (before.period, after.period) if by_window else None)


def _durations(client: AgentClient, period: Period) -> Durations:
    """What took how long; of a kind whose operations are not all there any more, nothing."""
    found: dict[str, dict[str, list[float]]] = {}
    for kind in KINDS.values():
        query = {"kind": kind, "by": f"service,{kind}", "from": period.start, "to": period.end}
        try:
            answer = client.get("/api/v1/durations", **query)
        except NotFound:  # an agent of an earlier version
            return {}
        if answer["complete_from"] <= period.start:
            found[kind] = {_named(one["labels"], kind): one["seconds"] for one in answer["durations"] if one["seconds"]}
    return found


def _windows(client: AgentClient, period: Period, series: Collection[str]) -> _Windows:
    """Of the finest windows that the agent has; a coarser one begins and ends where those asked for do not."""
    for length in WINDOWS:
        whole = period.whole(length)
        if whole is None:
            break
        points = _points(client, whole, whole.length, series)
        if all(whole.holds(point) for found in points.values() for point in found):
            pieces = _points(client, whole, max(whole.length / PIECES, length), series)
            return _Windows(
                whole,
                {name: [one["p50"] for one in pieces.get(name, ()) if whole.holds(one)] for name in points},
                {name: found[0] for name, found in points.items()},
            )
    return _Windows(period, {}, {})


def _points(client: AgentClient, period: Period, step: float, series: Collection[str]) -> dict[str, list[Point]]:
    """The points of a period, by what they are points of; those without a sample are left out."""
    found: dict[str, list[Point]] = {}
    for name in sorted(series):
        query: dict[str, object] = {"series": name, "from": period.start, "to": period.end, "step": step}
        for one in client.rows("/api/v1/history", "series", **query):
            points = [point for point in one["points"] if point["count"]]
            if points:
                found[_name(name, SERIES[name], one["labels"])] = points
    return found


def _name(series: str, label: str, labels: Mapping[str, str]) -> str:
    milestone = re.fullmatch(r"otel_latency_turn_time_to_(\w+)_seconds", series)
    return _named(labels, label, milestone[1] if milestone else "")


def _named(labels: Mapping[str, str], label: str, *more: str) -> str:
    return " ".join(filter(None, (labels.get("service", ""), labels.get(label, ""), *more)))


def _of_the_whole(one: StageShift, before: Point, after: Point) -> StageShift:
    """*one*, with the percentiles of the periods instead of those of the medians of their pieces."""
    p50, p95 = (
        Shift(a := float(before[key]), b := float(after[key]), b / a - 1 if a else 0.0, interval)
        for key, interval in (("p50", one.p50.interval), ("p95", None))
    )
    return replace(one, count_a=int(before["count"]), count_b=int(after["count"]), p50=p50, p95=p95)


def _moment(text: str, now: float) -> float | None:
    """Unix seconds of an end of a period."""
    if text == "now":
        return now
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    try:
        return now - Duration.parse(text)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
