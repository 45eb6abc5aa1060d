"""What of requests can be compared: the seconds of every stage and milestone, and of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from otel_latency.insight.requests import Request

TOTAL: Final = "total"


def samples_of(requests: Iterable[Request]) -> dict[str, list[float]]:
    """By stage, in the order of the requests; steps of one stage within a request are added up."""
    found: dict[str, list[float]] = {}
    milestones: dict[str, list[float]] = {}
    totals = []
    for request in requests:
        taken: dict[str, float] = {}
        for step in request.steps:
            taken[step.stage] = taken.get(step.stage, 0.0) + step.seconds
        for stage, seconds in taken.items():
            found.setdefault(stage, []).append(seconds)
        for name, seconds in request.milestones.items():
            milestones.setdefault(name, []).append(seconds)
        totals.append(request.total)
    named = {name: values for name, values in milestones.items() if name not in found}
    return {**found, **named, **({TOTAL: totals} if totals else {})}
