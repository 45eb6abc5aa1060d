"""Several forecasts become one: each counts by how well it did lately, apart for the low, middle and high quantiles.

The loss is the pinball loss of what was said at launch; the average is taken in log seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Final

from otel_latency.predict.estimate import LEVELS
from otel_latency.predict.experts import P10, P50, P90

KEEP: Final = 0.995
SHARPNESS: Final = 3.0
SLOWEST: Final = 0.02
LAST: Final = len(LEVELS) - 1
LATE_RATE: Final = 0.3
"""How fast p98 moves out when more than 2 % exceed it; in units of the usual error."""
LEAST_SCALE: Final = 1e-3
JUDGED: Final = ((P10, 0.1), (P50, 0.5), (P90, 0.9))
GROUPS: Final = tuple(0 if level < 0.3 else 1 if level < 0.75 else 2 for level in LEVELS)


class Mixture:
    """Weights of as many forecasts as there are *losses*, the losses they start with."""

    __slots__ = ("count", "late", "losses", "scale", "shares")

    def __init__(self, losses: Sequence[float]) -> None:
        self.count = 0.0
        self.late = 0.0
        self.scale = 0.3
        self.losses = [list(losses) for _ in JUDGED]
        self.shares: list[list[float]] | None = None

    def mix(self, grids: Sequence[list[float]]) -> list[float]:
        """One ascending grid of quantiles at `LEVELS`."""
        if self.shares is None:
            self.shares = [_shares(losses, self.scale) for losses in self.losses]
        by_level = zip(GROUPS, *grids, strict=True)
        grid = sorted([sum(map(float.__mul__, self.shares[group], values)) for group, *values in by_level])
        grid[LAST] += self.late
        return grid

    def learn(self, grids: Sequence[list[float]], grid: list[float], log_seconds: float) -> None:
        """The call that *grid* was made for, from *grids*, took that long."""
        self.count += 1
        beyond = float(log_seconds > grid[LAST])
        self.late = max(0.0, self.late + LATE_RATE * self.scale * (beyond - (1 - LEVELS[LAST])))
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
        return [self.count, self.late, self.scale, *(loss for losses in self.losses for loss in losses)]

    def restore(self, numbers: list[float]) -> None:
        self.count, self.late, self.scale = numbers[:3]
        each = len(self.losses[0])
        self.losses = [numbers[start : start + each] for start in range(3, len(numbers), each)]
        self.shares = None


def _shares(losses: Sequence[float], scale: float) -> list[float]:
    best = min(losses)
    weights = [exp(-SHARPNESS * (loss - best) / scale) for loss in losses]
    total = sum(weights)
    return [weight / total for weight in weights]
