"""Ends that keep their promise: each quantile that is shown or judged is moved until its share of calls lies beyond it.

Below the median the distances from it are stretched so that one call in ten is shorter than p10, above it so that one
in ten is longer than p90; the tail from p90 on so that one in a hundred is longer than p99. The factor of a distance
is learnt by stochastic approximation (Robbins and Monro): after each call its logarithm goes up by `rate * (1 - miss)`
when the end was missed, and down by `rate * miss` when not. So whatever the calls are, the share of misses over n of
them is off by no more than the factor has moved, over `n * rate` (online conformal calibration).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Final

from otel_latency.predict.estimate import LEAST_SLOPE, LEVELS

P10, P50, P90, P98 = (LEVELS.index(level) for level in (0.1, 0.5, 0.9, 0.98))
END_MISS: Final = 0.1
GAIN: Final = 3.0
PATIENCE: Final = 40.0
SLOWEST_END: Final = 0.01
"""An end's rate is `GAIN / (calls + PATIENCE)`, two thirds of what is fastest for a normal distribution: that a factor
is wrong at first matters less than that it jumps. It is never lower than this, so that it follows what changes."""
WIDEST: Final = 1.0
"""The largest logarithm of a factor, and its smallest is as far below 0."""
RARE: Final = 0.01
TAIL_RATE: Final = 0.2
"""A tail's factor settles within some 200 calls, to within a fifth."""
FEW_EXCESSES: Final = 4.0
MOST_EXCESSES: Final = 50.0
"""Calls that the prior slope, and all of the past, count as much as."""
NEARNESS: Final = tuple(abs(level - LEVELS[P50]) / (LEVELS[P50] - LEVELS[P10]) for level in LEVELS[: P90 + 1])
"""To the ends: 0 at the median, 1 at p10 and p90."""
FIVE_TIMES: Final = log((1 - LEVELS[P90]) / (1 - LEVELS[P98]))


class Tail:
    """The factor of the distance from p90 to p98, beyond which time is exponential on a logarithmic scale.

    Its logarithm is at most *widest*.
    """

    __slots__ = ("factor", "widest")

    def __init__(self, widest: float = WIDEST) -> None:
        self.factor = 0.0
        self.widest = widest

    def stretched(self, distance: float) -> float:
        return distance * exp(self.factor)

    def learn(self, p90: float, p98: float, log_seconds: float, slope: float = 0.0) -> None:
        """A call took that long where *p90* and *p98*, stretched already, were expected."""
        missed = log_seconds > exceeded_by(RARE, p90, p98, slope)
        self.factor = min(self.widest, _within(self.factor + TAIL_RATE * (missed - RARE)))


def exceeded_by(share: float, p90: float, p98: float, slope: float = 0.0) -> float:
    """The log seconds that *share* of the calls exceed, where the tail goes on from *p98* as it came from *p90*.

    The tail is that of `Estimate.tail`; its slope is *slope* at least.
    """
    return p98 + max(LEAST_SLOPE, slope, (p98 - p90) / FIVE_TIMES) * log((1 - LEVELS[P98]) / share)


class Excess:
    """How far calls are beyond p98 on average, in log seconds: the slope of an exponential tail (Hill's estimator)."""

    __slots__ = ("count", "mean")

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = LEAST_SLOPE

    def add(self, excess: float) -> None:
        self.count = min(self.count + 1, MOST_EXCESSES)
        self.mean += (excess - self.mean) / (self.count + FEW_EXCESSES)


class Ends:
    """Of one grid of log seconds."""

    __slots__ = ("high", "low", "tail")

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.tail = Tail()

    def stretched(self, grid: Sequence[float]) -> list[float]:
        """*grid*, ascending, with its ends where they were found to belong, and what is between less so."""
        median, p90 = grid[P50], grid[P90]
        inner = [
            median + exp(near * (self.low if each < median else self.high)) * (each - median)
            for each, near in zip(grid, NEARNESS, strict=False)
        ]
        longer = exp(self.high + self.tail.factor)
        return sorted(inner + [inner[P90] + longer * (each - p90) for each in grid[P90 + 1 :]])

    def learn(self, grid: Sequence[float], log_seconds: float, calls: float, slope: float = 0.0) -> None:
        """The call that *grid*, stretched already, was made for took that long; it is the *calls*-th."""
        rate = max(SLOWEST_END, GAIN / (calls + PATIENCE))
        self.low = _within(self.low + rate * ((log_seconds < grid[P10]) - END_MISS))
        self.high = _within(self.high + rate * ((log_seconds > grid[P90]) - END_MISS))
        self.tail.learn(grid[P90], grid[P98], log_seconds, slope)

    def numbers(self) -> list[float]:
        return [self.low, self.high, self.tail.factor]

    def restore(self, numbers: list[float]) -> None:
        self.low, self.high, self.tail.factor = numbers


def _within(factor: float) -> float:
    return max(-WIDEST, min(WIDEST, factor))
