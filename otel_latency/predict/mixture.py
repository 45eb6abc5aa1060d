"""Several forecasts become one: each counts by how well it did lately, apart for the low, middle and high quantiles.

The loss is the pinball loss of what was said at launch; the average is taken in log seconds. Forecasts that err apart
are wider than their mean needs to be, so its ends are calibrated by how often they were missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Final

from otel_latency.predict.calibration import P10, P50, P90, Ends
from otel_latency.predict.estimate import LEVELS, LITTLE

KEEP: Final = 0.995
SHARPNESS: Final = 3.0
SLOWEST: Final = 0.02
LEAST_SCALE: Final = 1e-3
JUDGED: Final = ((P10, 0.1), (P50, 0.5), (P90, 0.9))
GROUPS: Final = tuple(0 if level < 0.3 else 1 if level < 0.75 else 2 for level in LEVELS)


class Mixture:
    """Weights of as many forecasts as there are *losses*, the losses they start with."""

    __slots__ = ("count", "ends", "losses", "scale", "shares")

    def __init__(self, losses: Sequence[float]) -> None:
        self.count = 0.0
        self.ends = Ends()
        self.scale = 0.3
        self.losses = [list(losses) for _ in JUDGED]
        self.shares: list[list[float]] | None = None

    def mix(self, grids: Sequence[list[float]]) -> list[float]:
        """One ascending grid of quantiles at `LEVELS`."""
        if self.shares is None:
            self.shares = [_shares(losses, self.scale) for losses in self.losses]
        by_level = zip(GROUPS, *grids, strict=True)
        grid = sorted([sum(map(float.__mul__, self.shares[group], values)) for group, *values in by_level])
        return self.ends.stretched(grid)

    def learn(self, grids: Sequence[list[float]], grid: list[float], log_seconds: float, slope: float = 0.0) -> None:
        """The call that *grid* was made for, from *grids*, took that long."""
        self.count += 1
        if self.count > LITTLE:
            self.ends.learn(grid, log_seconds, self.count, slope)
        off = abs(log_seconds - grids[0][P50])
        self.scale = max(LEAST_SCALE, self.scale + max(SLOWEST, 1 / (self.count + 1)) * (off - self.scale))
        self.losses = [
            [
                KEEP * loss + (log_seconds - each[place]) * (level if log_seconds > each[place] else level - 1)
                for loss, each in zip(losses, grids, strict=True)
            ]
            for losses, (place, level) in zip(self.losses, JUDGED, strict=True)
        ]
        self.shares = None

    def numbers(self) -> list[float]:
        return [self.count, self.scale, *self.ends.numbers(), *(loss for losses in self.losses for loss in losses)]

    def restore(self, numbers: list[float]) -> None:
        self.count, self.scale = numbers[:2]
        self.ends.restore(numbers[2:5])
        each = len(self.losses[0])
        self.losses = [numbers[start : start + each] for start in range(5, len(numbers), each)]
        self.shares = None


def _shares(losses: Sequence[float], scale: float) -> list[float]:
    best = min(losses)
    weights = [exp(-SHARPNESS * (loss - best) / scale) for loss in losses]
    total = sum(weights)
    return [weight / total for weight in weights]
