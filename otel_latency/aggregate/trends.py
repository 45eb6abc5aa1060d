"""What became slower or faster: the last minute against the quarter of an hour before it.

Percentiles of single minutes scatter, the more so the fewer samples they have, and how much they do is seen in the
minutes before. A percentile has moved when it lies beyond every one of them, and so far from their median that three
times their usual distance from it (and 5 %) does not explain it. It takes five minutes with twenty samples each to say.

Memory: three numbers a minute for each of what is watched, sixteen of them at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from statistics import median
from typing import Final, NamedTuple

from otel_latency.records import Labels

MINUTE: Final = 60.0
MINUTES: Final = 15
FEWEST_MINUTES: Final = 5
FEWEST_SAMPLES: Final = 20
USUAL: Final = 3 * 1.4826
"""Three standard deviations, in median distances of a normal distribution."""
LEAST: Final = log(1.05)

SLOWER: Final = "slower"
FASTER: Final = "faster"


class Minute(NamedTuple):
    """What was seen in a minute: how many, and two percentiles in seconds."""

    samples: float
    p50: float
    p95: float


class Trend(NamedTuple):
    """A percentile that has moved, in seconds; `ratio` is now / before - 1."""

    labels: Labels
    percentile: str
    before: float
    now: float
    ratio: float
    direction: str


class Trends:
    """Takes the last minute again and again, keeps one of each sixty seconds; *now* is Unix seconds."""

    def __init__(self) -> None:
        self._minutes: list[tuple[float, Mapping[Labels, Minute]]] = []

    def add(self, minute: Mapping[Labels, Minute], now: float) -> None:
        """Take what the minute until *now* has seen."""
        if self._minutes and now < self._minutes[-1][0]:  # the clock was set back
            self._minutes.clear()
        if self._minutes and now - self._minutes[-1][0] < MINUTE:
            return
        kept = {labels: one for labels, one in minute.items() if one.samples >= FEWEST_SAMPLES}
        self._minutes = [(at, one) for at, one in self._minutes if now - at <= (MINUTES + 1) * MINUTE]
        self._minutes.append((now, kept))

    def moved(self, minute: Mapping[Labels, Minute], now: float) -> list[Trend]:
        """Which percentiles of the minute until *now* are other than before, by labels."""
        earlier = [one for at, one in self._minutes if MINUTE <= now - at <= (MINUTES + 1) * MINUTE]
        found = []
        for labels, present in sorted(minute.items()):
            known = [one[labels] for one in earlier if labels in one]
            if present.samples < FEWEST_SAMPLES or len(known) < FEWEST_MINUTES:
                continue
            for percentile in ("p50", "p95"):
                trend = _trend([getattr(one, percentile) for one in known], getattr(present, percentile))
                if trend is not None:
                    before, ratio = trend
                    direction = SLOWER if ratio > 0 else FASTER
                    found.append(Trend(labels, percentile, before, getattr(present, percentile), ratio, direction))
        return found


def _trend(earlier: list[float], present: float) -> tuple[float, float] | None:
    """The median of *earlier* and by which ratio *present* has moved from it; None where that may be chance."""
    if present <= 0 or min(earlier) <= 0 or min(earlier) <= present <= max(earlier):
        return None
    logs = [log(each) for each in earlier]
    center = median(logs)
    usual = median(abs(each - center) for each in logs)
    shift = log(present) - center
    return (exp(center), exp(shift) - 1) if abs(shift) > max(USUAL * usual, LEAST) else None
