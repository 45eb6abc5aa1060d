"""Two lines through the latest calls, each with the deviations from what it said when those calls were launched.

`Trend` is log seconds over log size. `Drift` has the recent speed as a second input, and so follows what speeds up or
slows down from call to call. Slopes are drawn towards those of the pool, the shape of the deviations too while there
are few. Sums fade by `KEEP` per call, which is a memory of 200 calls.
"""

from __future__ import annotations

from math import copysign, log, sqrt
from typing import Final

from otel_latency.predict.pool import NORMAL, USUAL_SPREAD, Pool
from otel_latency.predict.windows import Window

KEEP: Final = 0.995
LENGTH: Final = 200
OWN: Final = 60
"""Calls from which an operation's own deviations are enough."""
BLEND: Final = 6.0
PRIOR: Final = 6.0
"""Calls that the pool's shape, and its width, count as much as."""
FAR: Final = 3.0
LOOSE: Final = 0.25
LEAST_VARIANCE: Final = 1e-5
LEAST_TAIL: Final = 0.02
STEEP: Final = 2.3
"""p98 is so many times as far from p90 as p80 is, where the tail is exponential."""
FIVE_TIMES: Final = log(5)
"""p98 is exceeded by a fifth of what exceeds p90."""
P10, P50, P80, P90, P95, P98 = 2, 6, 9, 10, 11, 12
EIGHTY: Final = NORMAL[P90] - NORMAL[P10]


class Deviations:
    """How far calls were from what was said at their launch, in log seconds."""

    __slots__ = ("count", "squares", "usual", "variance", "weight", "window")

    def __init__(self, usual: float = USUAL_SPREAD) -> None:
        self.usual = usual
        self.window = Window(LENGTH)
        self.count = 0.0
        self.squares = 0.0
        self.variance = 0.2
        self.weight = 4.0

    def add(self, deviation: float) -> None:
        self.window.add(deviation)
        near = deviation if -FAR < deviation < FAR else copysign(FAR, deviation)
        self.weight = KEEP * self.weight + 1
        self.variance = max(LEAST_VARIANCE, self.variance + (near * near - self.variance) / self.weight)
        if self.count < OWN:
            near = max(-FAR / 2, min(FAR / 2, deviation))
            self.count += 1
            self.squares += near * near / (1 + 1 / self.count)

    def at_levels(self, pool: Pool | None) -> list[float]:
        """The window's quantiles; while it is short, blended with the pool's shape at this operation's width."""
        count = len(self.window)
        if count >= OWN:
            return self.window.at_levels()
        shape = [self.usual * normal for normal in NORMAL] if pool is None else pool.shape()
        width = max((shape[P90] - shape[P10]) / EIGHTY, 1e-3)
        own_width = sqrt((PRIOR * width * width + self.squares) / (PRIOR + self.count))
        wider = sqrt(1 + 1 / max(1.0, self.count + 1)) * own_width / width
        if not count:
            return [wider * each for each in shape]
        own_shape = extrapolated(self.window.at_levels())
        return [
            (count * own + BLEND * wider * each) / (count + BLEND) for own, each in zip(own_shape, shape, strict=True)
        ]

    def tail(self) -> tuple[float, float, float] | None:
        """p80, p90 and p98 of the window, None while it is short."""
        ascending = self.window.ascending
        count = len(ascending)
        if count < OWN:
            return None
        return ascending[int(0.8 * count)], ascending[int(0.9 * count)], ascending[int(0.98 * count)]

    def numbers(self) -> list[float]:
        return [self.count, self.squares, self.variance, self.weight]

    def restore(self, numbers: list[float]) -> None:
        self.count, self.squares, self.variance, self.weight = numbers


def extrapolated(grid: list[float]) -> list[float]:
    """*grid* of few values, whose largest one is below p98: beyond p90 at least as far as an exponential tail goes."""
    step = grid[P90] - grid[P80]
    grid[P95] = max(grid[P95], grid[P90] + step)
    grid[P98] = max(grid[P98], grid[P95], grid[P90] + STEEP * step)
    return grid


def beyond(value: float, p90: float, p98: float) -> float:
    """How far beyond p90, in units of the mean of an exponential tail with that p98."""
    return (value - p90) / max((p98 - p90) / FIVE_TIMES, LEAST_TAIL)


class Trend:
    """Log seconds over log size."""

    __slots__ = ("deviations", "log_mean", "size_mean", "size_square", "together", "weight")

    def __init__(self) -> None:
        self.deviations = Deviations()
        self.weight = 0.0
        self.size_mean = 0.0
        self.log_mean = 0.0
        self.size_square = 0.0
        self.together = 0.0

    def expected(self, size: float, slope: float) -> float:
        """Log seconds; *slope* is what to lean on."""
        ridge = self.deviations.variance / LOOSE
        own = (self.together + ridge * slope) / (self.size_square + ridge)
        return self.log_mean + own * (size - self.size_mean)

    def add(self, size: float, log_seconds: float) -> None:
        self.weight = KEEP * self.weight + 1
        off = size - self.size_mean
        self.size_mean += off / self.weight
        self.log_mean += (log_seconds - self.log_mean) / self.weight
        self.size_square = KEEP * self.size_square + off * (size - self.size_mean)
        self.together = KEEP * self.together + off * (log_seconds - self.log_mean)

    def fade(self, weight: float) -> None:
        """Let all the past count as much as *weight* calls, at most."""
        share = min(1.0, weight / self.weight) if self.weight else 1.0
        self.weight *= share
        self.size_square *= share
        self.together *= share

    def numbers(self) -> list[float]:
        sums = [self.weight, self.size_mean, self.log_mean, self.size_square, self.together]
        return [*self.deviations.numbers(), *sums]

    def restore(self, numbers: list[float]) -> None:
        self.deviations.restore(numbers[:4])
        self.weight, self.size_mean, self.log_mean, self.size_square, self.together = numbers[4:]


class Drift:
    """Log seconds over log size and recent speed."""

    __slots__ = (
        "deviations", "log_mean", "size_log", "size_mean", "size_speed", "size_square", "speed_log", "speed_mean",
        "speed_square", "weight",
    )  # fmt: skip

    def __init__(self) -> None:
        self.deviations = Deviations()
        self.weight = 0.0
        self.size_mean = self.speed_mean = self.log_mean = 0.0
        self.size_square = self.size_speed = self.speed_square = 0.0
        self.size_log = self.speed_log = 0.0

    def expected(self, size: float, speed: float, slope: float) -> float:
        """Log seconds; *slope* is what to lean on."""
        ridge = self.deviations.variance / LOOSE
        sizes, speeds = self.size_square + ridge, self.speed_square + ridge
        size_log = self.size_log + ridge * slope
        determinant = sizes * speeds - self.size_speed * self.size_speed
        over_size = (size_log * speeds - self.speed_log * self.size_speed) / determinant
        over_speed = (self.speed_log * sizes - size_log * self.size_speed) / determinant
        return self.log_mean + over_size * (size - self.size_mean) + over_speed * (speed - self.speed_mean)

    def add(self, size: float, speed: float, log_seconds: float) -> None:
        self.weight = KEEP * self.weight + 1
        size_off, speed_off = size - self.size_mean, speed - self.speed_mean
        self.size_mean += size_off / self.weight
        self.speed_mean += speed_off / self.weight
        self.log_mean += (log_seconds - self.log_mean) / self.weight
        log_off = log_seconds - self.log_mean
        self.size_square = KEEP * self.size_square + size_off * (size - self.size_mean)
        self.size_speed = KEEP * self.size_speed + size_off * (speed - self.speed_mean)
        self.speed_square = KEEP * self.speed_square + speed_off * (speed - self.speed_mean)
        self.size_log = KEEP * self.size_log + size_off * log_off
        self.speed_log = KEEP * self.speed_log + speed_off * log_off

    def fade(self, weight: float) -> None:
        """Let all the past count as much as *weight* calls, at most."""
        share = min(1.0, weight / self.weight) if self.weight else 1.0
        for name in ("weight", "size_square", "size_speed", "speed_square", "size_log", "speed_log"):
            setattr(self, name, getattr(self, name) * share)

    def numbers(self) -> list[float]:
        return [*self.deviations.numbers(), *(getattr(self, name) for name in _DRIFT)]

    def restore(self, numbers: list[float]) -> None:
        self.deviations.restore(numbers[:4])
        for name, number in zip(_DRIFT, numbers[4:], strict=True):
            setattr(self, name, number)


_DRIFT: Final = [name for name in Drift.__slots__ if name != "deviations"]
