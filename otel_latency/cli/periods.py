"""Two periods of an agent's history, compared.

While an agent still has every operation of both periods, durations are compared as those of files are: the newest five
thousand of each stage and turn that ended well. Of what lies longer ago, and of milestones, it has only sketches: each
period is cut into sixty pieces, whose medians are the evidence (neighbours in time are alike, and the tests know),
while the percentiles shown are those of the merged sketches of the period.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from otel_latency.cli.client import AgentClient, NotFound
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
PIECES: Final = 60
FINEST: Final = 60.0
"""Seconds; history is kept by the minute."""


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


def compare(url: str, a: str, b: str, *, now: float | None = None) -> list[StageShift]:
    """The shifts from period *a* to period *b* of the agent at *url*."""
    now = time.time() if now is None else now
    periods = [Period.parse(text, now) for text in (a, b)]
    client = AgentClient(url)
    pieces = [_points(client, period, max(period.length / PIECES, FINEST)) for period in periods]
    whole = [_points(client, period, period.length) for period in periods]
    durations = [_durations(client, period) for period in periods]
    known = durations[0].keys() & durations[1].keys()
    evidence = [
        {name: [one["p50"] for one in points] for name, points in side.items()} | {name: told[name] for name in known}
        for side, told in zip(pieces, durations, strict=True)
    ]
    found = compare_samples(*evidence)
    if not found:
        raise OtelLatencyError(f"{url}: nothing was measured in both periods: see its /api/v1/history")
    return [
        one if one.stage in known else _of_the_whole(one, whole[0][one.stage], whole[1][one.stage]) for one in found
    ]


def _durations(client: AgentClient, period: Period) -> dict[str, list[float]]:
    """What took how long, by its name; nothing where operations of the period are gone already."""
    found: dict[str, list[float]] = {}
    for kind in ("turn", "stage"):
        query = {"kind": kind, "by": f"service,{kind}", "from": period.start, "to": period.end}
        try:
            answer = client.get("/api/v1/durations", **query)
        except NotFound:  # an agent of an earlier version
            return {}
        if answer["complete_from"] > period.start:
            return {}
        for one in answer["durations"]:
            if one["seconds"]:
                found[_named(one["labels"], kind)] = one["seconds"]
    return found


def _points(client: AgentClient, period: Period, step: float) -> dict[str, list[Mapping[str, Any]]]:
    """The points of a period, by what they are points of; those without a sample are left out."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for series, label in SERIES.items():
        query: dict[str, object] = {"series": series, "from": period.start, "to": period.end, "step": step}
        for one in client.rows("/api/v1/history", "series", **query):
            points = [point for point in one["points"] if point["count"]]
            if points:
                found[_name(series, label, one["labels"])] = points
    return found


def _name(series: str, label: str, labels: Mapping[str, str]) -> str:
    milestone = re.fullmatch(r"otel_latency_turn_time_to_(\w+)_seconds", series)
    return _named(labels, label, milestone[1] if milestone else "")


def _named(labels: Mapping[str, str], label: str, *more: str) -> str:
    return " ".join(filter(None, (labels.get("service", ""), labels.get(label, ""), *more)))


def _of_the_whole(one: StageShift, before: list[Mapping[str, Any]], after: list[Mapping[str, Any]]) -> StageShift:
    """*one*, with the percentiles of the periods instead of those of the medians of their pieces."""
    p50, p95 = (
        Shift(a := float(before[0][key]), b := float(after[0][key]), b / a - 1 if a else 0.0, interval)
        for key, interval in (("p50", one.p50.interval), ("p95", None))
    )
    counts = [sum(int(point["count"]) for point in points) for points in (before, after)]
    return replace(one, count_a=counts[0], count_b=counts[1], p50=p50, p95=p95)


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
