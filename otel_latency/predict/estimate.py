"""An expected duration as a distribution: 13 quantiles, and everything that is read off them.

Between two of the quantiles time is interpolated on a logarithmic scale, since durations spread by factors; beyond the
last the tail goes on with the slope of the tenth before it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp, floor, log, log10
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_latency.predict.habits import Launch
    from otel_latency.predict.tokens import TokenTime

LEVELS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
LITTLE: Final = 10
ENOUGH: Final = 50
"""Samples from which an estimate is called medium, and high."""
CLOSE: Final = 0.25
TINY: Final = 1e-6
LEAST_SLOPE: Final = 0.05
P10, P90 = LEVELS.index(0.1), LEVELS.index(0.9)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected duration; `quantiles` are seconds at `LEVELS`, ascending, from `samples` past operations.

    Of what is left of a running operation, `elapsed` is what it took so far, and `shown` the upper end that was shown
    before. `slope` is what the tail's is at least: by how many e-folds time grows while the calls that take longer
    fall to a third. `launch` and `tokens` are the predictor's: what was known then, and the time per output token.
    """

    quantiles: Sequence[float]
    samples: int = 0
    launch: Launch | None = field(default=None, repr=False, compare=False)
    tokens: TokenTime | None = field(default=None, repr=False, compare=False)
    elapsed: float = 0.0
    shown: float = math.inf
    slope: float = 0.0

    @property
    def seconds(self) -> float:
        """As likely too short as too long."""
        return self.quantile(0.5)

    @property
    def low(self) -> float:
        """One in ten is shorter."""
        return self.quantile(0.1)

    @property
    def high(self) -> float:
        """One in ten is longer."""
        return self.quantile(0.9)

    @property
    def confidence(self) -> float:
        """The probability that the real duration lies within 25 % of `seconds`."""
        return self.tail(self.seconds * (1 - CLOSE)) - self.tail(self.seconds * (1 + CLOSE))

    @property
    def level(self) -> str:
        """low, medium or high: how much history there is, not how narrow the range is."""
        return "low" if self.samples < LITTLE else "medium" if self.samples < ENOUGH else "high"

    @property
    def text(self) -> str:
        """For people: the range, in words that tell how much history is behind it."""
        if self.elapsed:
            return self._text_of_rest()
        if self.samples < LITTLE:
            return f"estimated {self.range_text} (limited historical data)"
        return f"{'usually' if self.samples < ENOUGH else 'typically'} takes {self.range_text}"

    @property
    def range_text(self) -> str:
        """`low` to `high`, rounded outwards to two digits."""
        return f"{_two_digits(self.low, floor)}\N{EN DASH}{_two_digits(self.high, ceil)} seconds"

    def quantile(self, p: float) -> float:
        """Seconds that are not exceeded with probability *p*, 0 < p < 1."""
        if p <= LEVELS[0]:
            return self._at(0)
        if p >= LEVELS[-1]:
            return self._at(-1) * math.pow((1 - LEVELS[-1]) / max(1 - p, TINY), self._tail_slope())
        index = bisect_right(LEVELS, p)
        share = (p - LEVELS[index - 1]) / (LEVELS[index] - LEVELS[index - 1])
        return exp(log(self._at(index - 1)) * (1 - share) + log(self._at(index)) * share)

    def tail(self, seconds: float) -> float:
        """The probability of taking at least *seconds*."""
        if seconds <= self._at(0):
            return 1.0
        if seconds > self._at(-1):
            return (1 - LEVELS[-1]) * math.pow(self._at(-1) / seconds, 1 / self._tail_slope())
        index = next(index for index in range(1, len(LEVELS)) if self._at(index) >= seconds)
        below, above = log(self._at(index - 1)), log(self._at(index))
        share = (log(seconds) - below) / (above - below)
        return 1 - (LEVELS[index - 1] + share * (LEVELS[index] - LEVELS[index - 1]))

    def remaining(
        self, elapsed: float, tokens_so_far: float | None = None, first_token: float | None = None
    ) -> Estimate:
        """What is still to come after *elapsed* seconds, given that it is not over: more than nothing, however late.

        Of a streamed answer whose *tokens_so_far* began to come *first_token* seconds after the start, its own pace
        and the usual lengths tell more than the clock. Asked of what was left before, where *elapsed* is since then,
        the end that is shown may come nearer thereby, and never moves out.
        """
        if elapsed <= 0:
            return self
        since_start = self.elapsed + elapsed
        left = [end - elapsed for end in self._ends(elapsed)]
        if self.tokens is not None and tokens_so_far and first_token is not None and first_token < since_start:
            streamed = self.tokens.left(tokens_so_far, since_start - first_token)
            left = left if streamed is None else _sharper(left, streamed, since_start)
        return replace(
            self,
            quantiles=tuple([max(each, TINY) for each in left]),
            elapsed=since_start,
            shown=min(self.shown, self.elapsed + self.high),
        )

    def _ends(self, elapsed: float) -> list[float]:
        """The whole at `LEVELS`, given that it is longer than *elapsed*."""
        if elapsed >= self._at(-1):
            return [elapsed * math.pow(1 - level, -self._tail_slope()) for level in LEVELS]
        still_running = self.tail(elapsed)
        return [self.quantile(1 - (1 - level) * still_running) for level in LEVELS]

    def _text_of_rest(self) -> str:
        """The upper end stays where it was shown first, until it has passed: a bar never runs backwards."""
        until_shown = self.shown - self.elapsed
        if until_shown <= 0:
            return f"longer than 9 in 10 before it, likely {self.range_text} more"
        if until_shown <= self.seconds:
            return f"at least {_two_digits(self.low, floor)} seconds left"
        return f"{_two_digits(self.low, floor)}\N{EN DASH}{_two_digits(min(self.high, until_shown), ceil)} seconds left"

    def _at(self, index: int) -> float:
        return max(self.quantiles[index], TINY)

    def _tail_slope(self) -> float:
        """By how many e-folds time grows while what is left falls by one; never 0, or nothing could be late."""
        own = (log(self._at(-1)) - log(self._at(P90))) / log((1 - LEVELS[P90]) / (1 - LEVELS[-1]))
        return max(LEAST_SLOPE, self.slope, own)


def _sharper(left: Sequence[float], other: Sequence[float], elapsed: float) -> list[float]:
    """Of two forecasts of what is left after *elapsed* their weighted mean; weights are inverse squared variances."""
    widths = [
        log((elapsed + max(each[P90], TINY)) / (elapsed + max(each[P10], 0.0))) ** 4 + TINY for each in (left, other)
    ]
    share = widths[0] / (widths[0] + widths[1])
    return [
        exp((1 - share) * log(max(one, TINY)) + share * log(max(two, TINY)))
        for one, two in zip(left, other, strict=True)
    ]


def _two_digits(seconds: float, to_whole: Callable[[float], int]) -> str:
    """12.3 -> 12 or 13, 0.318 -> 0.31 or 0.32."""
    digits = max(0, 1 - floor(log10(seconds)))
    unit = 10.0 ** (floor(log10(seconds)) - 1)
    return f"{to_whole(seconds / unit - (1e-9 if to_whole is ceil else -1e-9)) * unit:.{digits}f}"
