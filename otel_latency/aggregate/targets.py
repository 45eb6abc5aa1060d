"""The configured targets as metric families, so that rules, dashboards and Prometheus compare with the same numbers.

A rule that joins with these series needs no threshold of its own, and one file of rules fits every configuration. A
name that is a milestone's is in the family of milestones, every other one in that of stages. Cost: made once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from otel_latency.config.sections import LatencyTarget
from otel_latency.records import Family, ValueSeries
from otel_latency.semconv import MILESTONES

LEVELS: Final = ("best", "target", "critical")


class LatencyTargets:
    """What stages and milestones should take."""

    def __init__(self, targets: Mapping[str, LatencyTarget]) -> None:
        self._families = [
            _family(kind, {name: target for name, target in targets.items() if (name in MILESTONES) is is_milestone})
            for kind, is_milestone in (("stage", False), ("milestone", True))
        ]

    def families(self, _now: float) -> list[Family]:
        """`otel_latency_stage_target_seconds` and `otel_latency_milestone_target_seconds`, by name and level."""
        return self._families


def _family(kind: str, targets: Mapping[str, LatencyTarget]) -> Family:
    series = [
        ValueSeries(((kind, name), ("level", level)), float(seconds))
        for name, target in targets.items()
        for level in LEVELS
        if (seconds := getattr(target, level)) is not None
    ]
    text = f"What a {kind} should take: at best, as a target, and critical from there on."
    return Family(f"otel_latency_{kind}_target_seconds", "gauge", text, series, "seconds")
