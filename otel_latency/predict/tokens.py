"""Seconds given the number of output tokens: a start, so much per token, and more per token under load.

    seconds = start + tokens * (each + crowd * in_flight)

Fitted by weighted least squares on relative errors that fade by `KEEP` per call, drawn towards "a third is the
start". What is left over, smoothed over the last few calls, is the recent speed: the output's length is taken out of
it, so it shows a slower provider after a few calls where bare durations would need a hundred.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, expm1, log, log1p, sqrt
from typing import Final

from otel_latency.predict.calibration import P10, P50, P90
from otel_latency.predict.experts import EIGHTY, Deviations
from otel_latency.predict.pool import NORMAL
from otel_latency.predict.windows import Neighbours, at_levels

KEEP: Final = 0.995
START_SHARE: Final = 0.3
USUAL_SPREAD: Final = 0.2
LONGER: Final = 5
BETWEEN: Final = 1 / sqrt(12)
"""The standard deviation of how far the next token has come."""
SOON: Final = 0.1
FOLLOW: Final = 0.5
"""The share of the recent speed that is expected to last."""
FAR: Final = 1.0
LENGTH: Final = 200


class TokenTime:
    """Of one operation. `expected` is log seconds, without the recent speed."""

    __slots__ = ("count", "deviations", "fastest", "mean_seconds", "mean_tokens", "nearest", "solved", "sums")

    def __init__(self) -> None:
        self.count = 0.0
        self.sums = [0.0] * 9
        self.mean_seconds = 0.0
        self.mean_tokens = 0.0
        self.fastest = 0.0
        self.solved: tuple[float, float, float] | None = None
        self.deviations = Deviations(USUAL_SPREAD)
        self.nearest = Neighbours(LENGTH, 10, 1.5)

    def expected(self, tokens: float, in_flight: float) -> float:
        """Needs a call to have been learnt."""
        start, each, crowd = self.coefficients()
        return log(max(start + tokens * (each + crowd * in_flight), self.fastest))

    def coefficients(self) -> tuple[float, float, float]:
        """Start, each, crowd."""
        if self.solved is None:
            self.solved = self._solve()
        return self.solved

    def add(self, tokens: float, in_flight: float, seconds: float, expected: float | None) -> None:
        self.count += 1
        self.fastest = seconds if self.count == 1 else min(1.01 * self.fastest, seconds)
        log_seconds = log(seconds)
        if expected is not None:
            log_seconds = min(max(expected, log_seconds - FAR), log_seconds + FAR)
        weight = exp(-2 * log_seconds)
        crowd = tokens * in_flight
        squares = tokens * tokens, tokens * crowd, crowd * crowd
        new = (1.0, tokens, crowd, *squares, seconds, tokens * seconds, crowd * seconds)
        self.sums = [KEEP * old + weight * each for old, each in zip(self.sums, new, strict=True)]
        rate = max(1 - KEEP, 1 / self.count)
        self.mean_seconds += rate * (seconds - self.mean_seconds)
        self.mean_tokens += rate * (tokens - self.mean_tokens)
        self.solved = None

    def _solve(self) -> tuple[float, float, float]:
        """The normal equations with one made-up call's worth of the prior, by elimination."""
        seconds, tokens = self.mean_seconds, max(self.mean_tokens, 1.0)
        one = 1 / (seconds * seconds)
        ridge = one * tokens * tokens
        crowded = 400.0 * ridge
        a00, a01, a02, a11, a12, a22, b0, b1, b2 = self.sums
        a00 += one
        a11 += ridge
        a22 += crowded
        b0 += one * START_SHARE * seconds
        b1 += ridge * (1 - START_SHARE) * seconds / tokens
        up, across = a01 / a00, a02 / a00
        a11, a12, b1 = a11 - up * a01, a12 - up * a02, b1 - up * b0
        a22, b2 = a22 - across * a02, b2 - across * b0
        down = a12 / a11
        crowd = (b2 - down * b1) / (a22 - down * a12)
        each = (b1 - a12 * crowd) / a11
        return (b0 - a01 * each - a02 * crowd) / a00, each, crowd

    def left(self, tokens: float, streaming: float) -> list[float] | None:
        """Seconds still to come, at `LEVELS`, of an answer whose first *tokens* tokens took *streaming* seconds.

        At the pace of this very call, which the rest will keep the better the more of it has come. How long the answer
        becomes is known from longer ones of the past; None where these are few. The next token is half on its way.
        """
        lengths = self.nearest.places[bisect_right(self.nearest.places, log1p(tokens)) :]
        if len(lengths) < LONGER:
            return None
        so_far = tokens + 0.5
        pace = streaming / so_far
        grid = self.deviations.at_levels(None)
        whole = [expm1(each) for each in at_levels(lengths)]
        uneven = (grid[P90] - grid[P10]) / EIGHTY * sqrt(max(0.0, 1 - so_far / whole[P50]))
        halfway = whole[P50] * pace * BETWEEN / so_far
        return [
            max(each - so_far, SOON) * pace * exp(uneven * normal) + halfway * normal
            for each, normal in zip(whole, NORMAL, strict=True)
        ]

    def fade(self, weight: float) -> None:
        """Let all the past count as much as *weight* calls, at most."""
        share = min(1.0, weight / min(self.count, 1 / (1 - KEEP))) if self.count else 1.0
        self.sums = [share * each for each in self.sums]
        self.solved = None

    def numbers(self) -> list[float]:
        means = [self.count, self.mean_seconds, self.mean_tokens, self.fastest]
        return [*self.deviations.numbers(), *means, *self.sums]

    def restore(self, numbers: list[float]) -> None:
        self.deviations.restore(numbers[:4])
        self.count, self.mean_seconds, self.mean_tokens, self.fastest = numbers[4:8]
        self.sums, self.solved = numbers[8:], None
