"""Providers, models or whatever else side by side: who is fastest, by how much, and whether that is more than noise.

Groups of durations are ranked by their medians, and each is held against the fastest: how much longer one of its calls
takes, typically (Hodges and Lehmann's shift), with the interval and the p-value of Mann and Whitney's test. The fastest
is so by luck, too, the more the more groups there are: both are adjusted for all pairs there are (Bonferroni), so that
of a hundred tables of providers that are alike at most 3.5 call any of them slower. With two groups of 500 a shift of
10 % is found in nineteen of twenty where two thirds of the durations lie within a factor of 1.4 of the median.

Too few durations show nothing: then the verdict is unknown, not same. Who has fewer than `MIN_TO_LEAD` is not what
others are held against, unless nobody has more.

Cost: 15 ms for ten groups of 5,000. Of larger groups the tests look at evenly spaced durations, `SAMPLES` of all groups
together but no fewer than `MIN_SAMPLES` of each; medians and percentiles are of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import Final

from otel_latency.significance.statistics import (
    Interval,
    inflation,
    mann_whitney,
    quantile,
)

ALPHA: Final = 0.035
SAMPLES: Final = 5_000
MIN_SAMPLES: Final = 200
MIN_TO_LEAD: Final = 30
MIN_FOR_SAME: Final = 30
"""With fewer durations on either side, what is not found different is unknown."""
MIN_FOR_SLOWER: Final = 5
POINTS: Final = 64
"""Of each side's distribution, evenly spaced, whose differences stand for those of all its durations."""

FASTEST: Final = "fastest"
SLOWER: Final = "slower"
SAME: Final = "same"
UNKNOWN: Final = "unknown"

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How many seconds longer than one of the `count` calls of the fastest (`against`) one takes, typically. 19 times
    in 20 all intervals of a table hold the true differences; None where there are too few durations for one.
    """

    against: Group
    count: int
    seconds: float
    interval: Interval | None
    p_value: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Place:
    """A group in the ranking; times are seconds, `difference` is None of the fastest."""

    group: Group
    count: int
    p50: float
    p90: float
    difference: Difference | None

    @property
    def verdict(self) -> str:
        return self.difference.verdict if self.difference else FASTEST


@dataclass(frozen=True, slots=True)
class _Side:
    """A group as tests see it: all durations in order of size, some of them in order of time, and `POINTS` of them."""

    group: Group
    ordered: Sequence[float]
    some: Sequence[float]
    points: Sequence[float]
    inflation: float
    p50: float


def compare(groups: Mapping[Group, Sequence[float]], *, alpha: float = ALPHA) -> list[Place]:
    """The groups that have any durations (seconds, in the order of their times), the lowest median first."""
    told = {group: durations for group, durations in groups.items() if len(durations)}
    if not told:
        return []
    most = max(SAMPLES // len(told), MIN_SAMPLES)
    sides = sorted((_side(group, durations, most) for group, durations in told.items()), key=_by_median)
    fastest = _fastest(sides)
    return [_place(side, fastest, comb(len(sides), 2), alpha) for side in sides]


def in_words(place: Place, *, is_alone: bool = False) -> str:
    """A sentence: how fast, and how that compares. *is_alone* is one without any other in its table."""
    name = _name(place.group)
    found = place.difference
    if found is None:
        compares = "there is nothing to compare it with" if is_alone else "none is shown to be faster"
        return f"{name} takes {_time(place.p50)} at the median of {_calls(place.count)}: {compares}"
    other = _name(found.against)
    if found.verdict == SLOWER:
        low, high = found.interval or (found.seconds, found.seconds)
        span = f" (between {_time(low)} and {_time(high)})" if found.interval else ""
        return f"{name} takes {_time(place.p50)}, typically {_time(found.seconds)} longer than {other}{span}"
    if found.verdict == SAME:
        return f"{name} takes {_time(place.p50)}: not shown to be slower than {other}, the difference may be chance"
    return (
        f"{name} takes {_time(place.p50)}: too few calls to compare, {place.count:,} against {found.count:,} of {other}"
    )


def _side(group: Group, durations: Sequence[float], most: int) -> _Side:
    ordered, some = sorted(durations), _thinned(durations, most)
    return _Side(group, ordered, some, _thinned(ordered, POINTS), inflation(some), quantile(ordered, 0.5))


def _thinned(values: Sequence[float], most: int) -> Sequence[float]:
    """Evenly spaced ones, each from the middle of its share."""
    step = len(values) / most
    return values if step <= 1 else [values[int((index + 0.5) * step)] for index in range(most)]


def _by_median(side: _Side) -> tuple[float, Group]:
    return (side.p50, side.group)


def _fastest(sides: Sequence[_Side]) -> _Side:
    for enough in (MIN_TO_LEAD, MIN_FOR_SLOWER, 1):
        for side in sides:
            if len(side.ordered) >= enough:
                return side
    return sides[0]


def _place(side: _Side, fastest: _Side, pairs: int, alpha: float) -> Place:
    difference = None if side is fastest else _difference(side, fastest, pairs, alpha)
    return Place(side.group, len(side.ordered), side.p50, quantile(side.ordered, 0.9), difference)


def _difference(side: _Side, fastest: _Side, pairs: int, alpha: float) -> Difference:
    a, b = fastest.some, side.some
    resemblance = (len(a) * fastest.inflation + len(b) * side.inflation) / (len(a) + len(b))
    test = mann_whitney(a, b, resemblance)
    p_value = min(test.p_value * pairs, 1.0)
    fewest = min(len(side.ordered), len(fastest.ordered))
    differences = sorted(one - other for one in side.points for other in fastest.points)
    # What Mann and Whitney's test would not reject: so many of all pairs' differences lie beyond on either side.
    width = -NormalDist().inv_cdf(alpha / pairs / 2)
    beyond = 0.5 - width * sqrt((len(a) + len(b) + 1) / (12 * len(a) * len(b)) * resemblance)
    return Difference(
        against=fastest.group,
        count=len(fastest.ordered),
        seconds=quantile(differences, 0.5),
        interval=Interval(quantile(differences, beyond), quantile(differences, 1 - beyond)) if beyond > 0 else None,
        p_value=p_value,
        verdict=_verdict(p_value <= alpha and test.superiority > 0.5, fewest),
    )


def _verdict(is_shown: bool, fewest: int) -> str:
    if is_shown and fewest >= MIN_FOR_SLOWER:
        return SLOWER
    return SAME if fewest >= MIN_FOR_SAME else UNKNOWN


def _name(group: Group) -> str:
    return "/".join(part for part in group if part) or "unknown"


def _calls(count: int) -> str:
    return f"{count:,} call{'s' if count != 1 else ''}"


def _time(seconds: float) -> str:
    if abs(seconds) < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if abs(seconds) < 999.5 else f"{seconds:,.0f} s"
