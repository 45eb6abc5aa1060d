"""A report of measured figures, and whether it is worse than an earlier one.

Each figure is measured several times. It is a regression when its median is worse than the earlier one by more than the
tolerance, and its best value worse than the earlier worst: a machine that was busy for a moment is no regression. Two
single values are compared by the tolerance alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Final

import msgspec

from otel_latency.errors import ConfigError

TOLERANCE: Final = 0.25
LOWER: Final = "lower"
HIGHER: Final = "higher"
NEITHER: Final = ""
WORSE, BETTER, SAME, NEW, GONE = "worse", "better", "same", "new", "gone"


class Figure(msgspec.Struct, frozen=True):
    """One thing measured, in every round. `better` says which way is; one for which neither is, is not judged."""

    name: str
    unit: str
    values: tuple[float, ...]
    better: str = LOWER

    @property
    def value(self) -> float:
        return median(self.values)


class Report(msgspec.Struct, frozen=True):
    """What was measured, when (Unix seconds), and of what: a version, and a machine in words or an agent's address."""

    created: float
    version: str
    machine: str
    figures: tuple[Figure, ...]


class Change(msgspec.Struct, frozen=True):
    """A figure beside its earlier self; `ratio` is now / before - 1."""

    name: str
    before: float | None
    now: float | None
    ratio: float | None
    verdict: str


def load(place: str, data: bytes) -> Report:
    """A report that `dump` wrote. Raises ConfigError, with *place*."""
    try:
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"{place}: this is no report: write one with --save") from None
    if not all(figure.values for figure in report.figures):
        raise ConfigError(f"{place}: a figure has no values: write the report anew with --save")
    return report


def dump(report: Report) -> bytes:
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def changes(before: Report, now: Report, *, tolerance: float = TOLERANCE) -> list[Change]:
    """Each figure of either report, in the order of the newer one."""
    earlier = {figure.name: figure for figure in before.figures}
    found = [_change(earlier.pop(figure.name, None), figure, tolerance) for figure in now.figures]
    return [*found, *(Change(name, figure.value, None, None, GONE) for name, figure in earlier.items())]


def has_regressed(found: Iterable[Change]) -> bool:
    return any(change.verdict == WORSE for change in found)


def _change(before: Figure | None, now: Figure, tolerance: float) -> Change:
    if before is None:
        return Change(now.name, None, now.value, None, NEW)
    ratio = now.value / before.value - 1 if before.value else None
    return Change(now.name, before.value, now.value, ratio, _verdict(before, now, tolerance))


def _verdict(before: Figure, now: Figure, tolerance: float) -> str:
    if now.better == NEITHER:
        return SAME
    if _has_grown(before, now, tolerance):
        return BETTER if now.better == HIGHER else WORSE
    if _has_grown(now, before, tolerance):
        return WORSE if now.better == HIGHER else BETTER
    return SAME


def _has_grown(small: Figure, large: Figure, tolerance: float) -> bool:
    return large.value > small.value * (1 + tolerance) and min(large.values) > max(small.values)
