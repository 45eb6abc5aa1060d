"""What calls of one kind have in common: the slope over the prompt's size, the shape of the deviations, the level, and
how far the late ones are beyond the others.

Operations of a model lean on the model's pool while they are new, and that one on the pool of everything.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

from otel_latency.predict.calibration import Excess, Tail
from otel_latency.predict.estimate import LEVELS
from otel_latency.predict.windows import Window

NORMAL: Final = tuple(NormalDist().inv_cdf(level) for level in LEVELS)
USUAL_SPREAD: Final = 0.45
"""The standard deviation of log seconds where nothing is known."""
ENOUGH: Final = 20
SHRINK: Final = 2.0
KEEP: Final = 0.998
RECENT: Final = 0.01
SAMPLED: Final = 4
"""A pool that has enough passes on every fourth call: the wider one learns the same from fewer."""


class Level:
    """A running mean and variance of log seconds."""

    __slots__ = ("count", "mean", "variance")

    def __init__(self) -> None:
        self.count = 0.0
        self.mean = 0.0
        self.variance = 0.5

    def add(self, log_seconds: float) -> None:
        self.count += 1
        rate = max(RECENT, 1 / self.count)
        off = log_seconds - self.mean
        self.mean += rate * off
        self.variance += rate * (off * off - self.variance)

    def numbers(self) -> list[float]:
        return [self.count, self.mean, self.variance]

    def restore(self, numbers: list[float]) -> None:
        self.count, self.mean, self.variance = numbers


class Pool:
    """One pool; `above` is the wider one, which learns from it."""

    __slots__ = ("above", "deviations", "excess", "level", "passed_on", "tail_given", "together", "within")

    def __init__(self, above: Pool | None = None) -> None:
        self.above = above
        self.level = Level()
        self.deviations = Window(256)
        self.within = 0.0
        self.together = 0.0
        self.passed_on = 0.0
        self.excess = Excess()
        # Given the tokens a call at half the speed is a fault: a tail that grew with such calls would excuse the next.
        self.tail_given = Tail(widest=0.0)

    def add(self, deviation: float, size_off: float, log_off: float) -> None:
        """A call's deviation from what was expected, and its distances from the means of its own operation."""
        self.deviations.add(deviation)
        self.within = KEEP * self.within + size_off * size_off
        self.together = KEEP * self.together + size_off * log_off
        self.passed_on += 1
        if self.above is not None and (self.passed_on <= ENOUGH or self.passed_on % SAMPLED == 0):
            self.above.add(deviation, size_off, log_off)

    def heed(self, log_seconds: float) -> None:
        """A call's duration, for the level."""
        self.level.add(log_seconds)
        count = self.level.count
        if self.above is not None and (count <= ENOUGH or count % SAMPLED == 0):
            self.above.heed(log_seconds)

    def slope(self) -> float:
        """Of log seconds over log size, within operations."""
        wider = 0.0 if self.above is None else self.above.slope()
        return (self.together + SHRINK * wider) / (self.within + SHRINK)

    def shape(self) -> list[float]:
        """Deviations at `LEVELS`."""
        count = len(self.deviations)
        if count >= ENOUGH:
            return self.deviations.at_levels()
        usual = [USUAL_SPREAD * normal for normal in NORMAL] if self.above is None else self.above.shape()
        if not count:
            return usual
        share = count / ENOUGH
        return [share * own + (1 - share) * wide for own, wide in zip(self.deviations.at_levels(), usual, strict=True)]

    def numbers(self) -> list[float]:
        tails = self.excess.count, self.excess.mean, self.tail_given.factor
        return [*self.level.numbers(), self.within, self.together, self.passed_on, *tails]

    def arrays(self) -> list[array[float]]:
        return self.deviations.arrays()

    def restore(self, numbers: list[float], arrays: Sequence[array[float]]) -> None:
        *level, self.within, self.together, self.passed_on = numbers[:6]
        self.excess.count, self.excess.mean, self.tail_given.factor = numbers[6:]
        self.level.restore(level)
        self.deviations.restore(arrays)
