"""What is known about one operation of one model, and what follows for the next call.

Three forecasts are mixed: the trend over the prompt's size, the trend over size and recent speed, and the nearest of
the latest calls. Where a number of output tokens is hinted, two more come in: the time that many tokens took, and how
far off that was for similar calls. A hint may be a limit and no length, so its weight is earned as well.

Memory: 16 KiB, whatever was seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import islice
from math import log, log1p, sqrt
from typing import Final, NamedTuple

from otel_latency.predict.estimate import LITTLE, TINY
from otel_latency.predict.experts import EIGHTY, P10, P50, P80, P90, P95, P98, STEEP, Drift, Trend, beyond
from otel_latency.predict.mixture import Mixture
from otel_latency.predict.pool import NORMAL, Pool
from otel_latency.predict.tokens import FOLLOW, TokenTime
from otel_latency.predict.windows import Neighbours, Window

LENGTH: Final = 320
DOUBT: Final = 1.0
"""The loss that forecasts without the hint start with: a known length is worth believing at first."""
PLAUSIBLE: Final = 3.2
"""p98 given the tokens is at most so many times as far from p90 as p80 is (normal tail: 1.8, exponential: 2.3), or the
slow calls of the past, one in fifty, would excuse those to come."""
STRETCHED: Final = 1.5
"""Among the nearest calls p90 is at most so many times as far from p80 as among all: there one fault is a tenth."""
TOKENS_KNOWN: Final = 5.0
QUICK: Final = 0.2
"""How fast the recent speed follows: about five calls."""
FAR: Final = 1.5
LONG_AGO: Final = 86_400.0
DAYS_DRIFT: Final = 0.28
"""Standard deviation of the change of a model's log median after days, measured on 532 pairs of runs."""
AFTER_GAP: Final = 10.0
"""Calls that all the past counts as after such a gap."""
FORGIVE: Final = 0.7
COLD_SPREAD: Final = 1.1
USUAL_LEVEL: Final = (log(8.0), 0.8)
"""Of LLM calls in general: the log median, and the standard deviation of the logarithm."""


Key = tuple[str, str, str]
"""Provider, task, model."""


class Launch(NamedTuple):
    """What was known and said when a call began; deviations are taken against it."""

    key: Key
    size: float
    load: float
    in_flight: int
    speed: float
    hint: float | None
    trend: float | None
    drift: float | None
    tokens: float | None
    grids: tuple[list[float], ...]
    grid: list[float]


class Learnt(NamedTuple):
    """How far a call was off, in log seconds: as a whole, and given its tokens; and the usual variances of both.

    `excess` is how far it was beyond p90, in units of the tail's mean, negative below; given its tokens where known.
    """

    off: float
    variance: float
    off_speed: float | None
    variance_speed: float
    excess: float


class Habits:
    """Of one key; *pool* is that of its model."""

    __slots__ = (
        "count", "drift", "hinted", "key", "last", "neighbours", "plain", "pool", "speed", "stale", "tokens", "trend"
    )  # fmt: skip

    def __init__(self, key: Key, pool: Pool) -> None:
        self.key = key
        self.pool = pool
        self.count = 0.0
        self.speed = 0.0
        self.stale = 0.0
        self.last = -1.0
        self.trend = Trend()
        self.drift = Drift()
        self.tokens = TokenTime()
        self.neighbours = Neighbours(LENGTH, 10, 2.0)
        self.plain = Mixture((0.0, 0.0, 0.0))
        self.hinted = Mixture((DOUBT, DOUBT, DOUBT, 0.0, 0.0))

    # --- before a call -------------------------------------------------------------------------------------------

    def forecast(self, input_tokens: float | None, in_flight: int, hint: float | None) -> tuple[list[float], Launch]:
        """Log seconds at `LEVELS`, and what to hand to `learn`."""
        size = self.trend.size_mean if input_tokens is None else log1p(input_tokens)
        load = log1p(in_flight)
        if not self.count:
            grid = self._cold()
            return grid, Launch(self.key, size, load, in_flight, 0.0, hint, None, None, None, (), grid)
        slope = self.pool.slope()
        trend = self.trend.expected(size, slope)
        drift = self.drift.expected(size, self.speed, slope)
        line = [trend + each for each in self.trend.deviations.at_levels(self.pool)]
        grids: tuple[list[float], ...] = (
            line,
            [drift + each for each in self.drift.deviations.at_levels(self.pool)],
            _tailed(self.neighbours.at_levels(size, load, self.speed), line),
        )
        tokens = None
        if hint is not None and self.tokens.count >= TOKENS_KNOWN:
            tokens = self.tokens.expected(hint, in_flight) + FOLLOW * self.speed
            grids += self._given(tokens, hint, load)
            grid = self.hinted.mix(grids)
        else:
            grid = self.plain.mix(grids) if self.count >= LITTLE else grids[0]
        launch = Launch(self.key, size, load, in_flight, self.speed, hint, trend, drift, tokens, grids, grid)
        return grid, launch

    def given(self, launch: Launch, tokens: float) -> list[float] | None:
        """Log seconds at `LEVELS` of a call with *tokens* output tokens; None where too few calls told theirs."""
        if self.tokens.count < TOKENS_KNOWN:
            return None
        expected = self.tokens.expected(tokens, launch.in_flight) + FOLLOW * self.speed
        by_line, by_nearest = self._given(expected, tokens, launch.load)
        return [(each + other) / 2 for each, other in zip(by_line, by_nearest, strict=True)]

    def _given(self, expected: float, tokens: float, load: float) -> tuple[list[float], list[float]]:
        line = self.tokens.deviations.at_levels(None)
        tail = line[P90] + self._tail_given(line[P80], line[P90], line[P98])
        line[P95], line[P98] = min(line[P95], tail), tail
        near = self.tokens.nearest.at_levels(log1p(tokens), load, self.speed)
        near[P90] = min(near[P90], near[P80] + STRETCHED * (line[P90] - line[P80]))
        near = _tailed(near, line)
        return [expected + each for each in line], [expected + each for each in near]

    def _tail_given(self, p80: float, p90: float, p98: float) -> float:
        """From p90 to p98, where faults of the past have no say."""
        return self.pool.tail_given.stretched(min(p98 - p90, PLAUSIBLE * (p90 - p80)))

    def _cold(self) -> list[float]:
        """From the narrowest pool that has seen enough."""
        pool: Pool | None = self.pool
        while pool is not None and pool.level.count < LITTLE:
            pool = pool.above
        if pool is None:
            median, spread = USUAL_LEVEL
        else:
            median, spread = pool.level.mean, COLD_SPREAD * sqrt(pool.level.variance + 1e-4)
        return [median + spread * normal for normal in NORMAL]

    def widened(self, grid: list[float], now: float) -> list[float]:
        """*grid* after a long pause, or in the first calls after one: what held days ago may not hold any more."""
        stale = 1.0 if 0 <= self.last <= now - LONG_AGO else self.stale
        if stale < TINY:
            return grid
        median = grid[P50]
        spread = max((grid[P90] - grid[P10]) / EIGHTY, 1e-3)
        wider = sqrt(1 + stale * (DAYS_DRIFT / spread) ** 2)
        return [median + wider * (each - median) for each in grid]

    # --- after it ------------------------------------------------------------------------------------------------

    def learn(self, launch: Launch, seconds: float, tokens: float | None, now: float | None) -> Learnt | None:
        """How the call was compared with those before it; None where these are few."""
        log_seconds = log(seconds)
        if now is not None:
            self._pass_time(now)
        if launch.grids:
            slope = self.pool.excess.mean
            if launch.tokens is None:
                self.plain.learn(launch.grids[:3], launch.grid, log_seconds, slope)
            else:
                self.hinted.learn(launch.grids, launch.grid, log_seconds, slope)
            if self.count > LITTLE and log_seconds > launch.grid[P98]:
                self.pool.excess.add(log_seconds - launch.grid[P98])
        variances = self.trend.deviations.variance, self.tokens.deviations.variance
        grid, usual = launch.grid, self.tokens.deviations.tail()
        excess = beyond(log_seconds, grid[P90], grid[P98])
        off = self._learn_trends(launch, log_seconds)
        tokens = launch.hint if tokens is None else tokens
        off_speed = None if tokens is None else self._learn_tokens(launch, tokens, seconds)
        if off_speed is not None and usual is not None:
            left, (p80, p90, p98) = off_speed - FOLLOW * launch.speed, usual
            excess = beyond(left, p90, max(p98, p90 + STEEP * (p90 - p80)))
            self.pool.tail_given.learn(p90, p90 + self._tail_given(p80, p90, p98), left)
        self.neighbours.add(launch.size, launch.load, launch.speed, log_seconds)
        slower = off if off_speed is None else off_speed
        self.speed += QUICK * (max(-FAR, min(FAR, slower)) - self.speed)
        self.count += 1
        return None if self.count <= LITTLE else Learnt(off, variances[0], off_speed, variances[1], excess)

    def _learn_trends(self, launch: Launch, log_seconds: float) -> float:
        """How far off the trend was."""
        off = 0.0
        trend, drift, size, speed = launch.trend, launch.drift, launch.size, launch.speed
        if self.count:
            slope = self.pool.slope() if trend is None or drift is None else 0.0
            off = log_seconds - (self.trend.expected(size, slope) if trend is None else trend)
            self.trend.deviations.add(off)
            line = self.drift.expected(size, speed, slope) if drift is None else drift
            self.drift.deviations.add(log_seconds - line)
            self.pool.add(off, size - self.trend.size_mean, log_seconds - self.trend.log_mean)
        self.trend.add(size, log_seconds)
        self.drift.add(size, speed, log_seconds)
        self.pool.heed(log_seconds)
        return off

    def _learn_tokens(self, launch: Launch, tokens: float, seconds: float) -> float:
        """How far off the time per token was."""
        known, log_seconds, off = self.tokens, log(seconds), 0.0
        expected = None
        if known.count:
            expected = known.expected(tokens, launch.in_flight)
            off = log_seconds - expected
            said = launch.tokens if launch.tokens is not None and launch.hint == tokens else None
            left = log_seconds - (expected + FOLLOW * launch.speed if said is None else said)
            if known.count >= TOKENS_KNOWN:
                known.deviations.add(left)
            known.nearest.add(log1p(tokens), launch.load, launch.speed, left)
        else:
            known.nearest.add(log1p(tokens), launch.load, launch.speed, 0.0)
        known.add(tokens, launch.in_flight, seconds, expected)
        return off

    def _pass_time(self, now: float) -> None:
        if 0 <= self.last <= now - LONG_AGO:
            self.fade(AFTER_GAP)
            self.stale = 1.0
        self.stale *= FORGIVE
        self.last = max(self.last, now)

    def fade(self, weight: float) -> None:
        """Something has changed: let all the past count as much as *weight* calls, at most."""
        self.trend.fade(weight)
        self.drift.fade(weight)
        self.tokens.fade(weight)

    # --- to keep it ----------------------------------------------------------------------------------------------

    def numbers(self) -> list[float]:
        parts = (self.trend, self.drift, self.tokens, self.plain, self.hinted)
        return [self.count, self.speed, self.stale, self.last, *(each for part in parts for each in part.numbers())]

    def arrays(self) -> list[array[float]]:
        return [each for part in self._stores() for each in part.arrays()]

    def restore(self, numbers: list[float], arrays: Sequence[array[float]]) -> None:
        """The reverse of `numbers` and `arrays`."""
        self.count, self.speed, self.stale, self.last = numbers[:4]
        rest, columns = iter(numbers[4:]), iter(arrays)
        for part in (self.trend, self.drift, self.tokens, self.plain, self.hinted):
            part.restore(list(islice(rest, len(part.numbers()))))
        for store in self._stores():
            store.restore(list(islice(columns, len(store.arrays()))))

    def _stores(self) -> tuple[Window | Neighbours, ...]:
        tokens = self.tokens
        trends = self.trend.deviations.window, self.drift.deviations.window
        return *trends, tokens.deviations.window, tokens.nearest, self.neighbours


def _tailed(near: list[float], line: list[float]) -> list[float]:
    """*near* with the tail of *line*: few neighbours know nothing of what is rare."""
    for place in (P95, P98):
        near[place] = near[P90] + line[place] - line[P90]
    return near
