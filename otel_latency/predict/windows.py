"""Quantiles of what was seen last: a window that is always sorted, and the nearest of the latest calls.

Quantiles of n values are those that cut the range into n + 1 equal parts, so that an interval keeps its promise for
the next value as well (split-conformal positions). Values are single precision: 4 bytes each, twice per window.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Final

from otel_latency.predict.estimate import LEVELS

LARGEST: Final = 512
NEAR: Final = 128
"""Calls next in size among which the nearest are looked for."""
LOAD_WEIGHT: Final = 0.5
SPEED_WEIGHT: Final = 0.5
"""A doubled load, or speed, is as far as a size half that much different."""
TIE: Final = 1e-3


class Window:
    """The latest values, ascending."""

    __slots__ = ("ascending", "length", "oldest", "queue")

    def __init__(self, length: int) -> None:
        self.length = length
        self.ascending = array("f")
        self.queue = array("f")
        self.oldest = 0

    def __len__(self) -> int:
        return len(self.ascending)

    def add(self, value: float) -> None:
        """The oldest value goes when the window is full."""
        if len(self.queue) < self.length:
            self.queue.append(value)
        else:
            del self.ascending[bisect_left(self.ascending, self.queue[self.oldest])]
            self.queue[self.oldest] = value
            self.oldest = (self.oldest + 1) % self.length
        insort(self.ascending, value)

    def at_levels(self) -> list[float]:
        """The quantiles at `LEVELS`; there must be a value."""
        return at_levels(self.ascending)

    def arrays(self) -> list[array[float]]:
        """All there is to keep: the values, oldest first."""
        return [self.queue[self.oldest :] + self.queue[: self.oldest]]

    def restore(self, arrays: Sequence[array[float]]) -> None:
        (self.queue,) = arrays
        self.ascending, self.oldest = array("f", sorted(self.queue)), 0


class Neighbours:
    """The latest calls in the order of their size: what came of those most like a new one.

    Alike is: near in log size, log load and recent speed. Of equal sizes those with an equal load stand together.
    """

    __slots__ = ("least", "length", "loads", "oldest", "places", "queue", "share", "speeds", "values")

    def __init__(self, length: int, least: int, share: float) -> None:
        self.length = length
        self.least = least
        self.share = share
        self.places = array("f")
        self.loads = array("f")
        self.speeds = array("f")
        self.values = array("f")
        self.queue = array("f")
        self.oldest = 0

    def __len__(self) -> int:
        return len(self.values)

    def add(self, size: float, load: float, speed: float, value: float) -> None:
        """The oldest call goes when it is full."""
        place = size + TIE * load
        if len(self.queue) < self.length:
            self.queue.append(place)
        else:
            gone = bisect_left(self.places, self.queue[self.oldest])
            for column in (self.places, self.loads, self.speeds, self.values):
                del column[gone]
            self.queue[self.oldest] = place
            self.oldest = (self.oldest + 1) % self.length
        index = bisect_right(self.places, place)
        self.places.insert(index, place)
        self.loads.insert(index, load)
        self.speeds.insert(index, speed)
        self.values.insert(index, value)

    def at_levels(self, size: float, load: float, speed: float) -> list[float]:
        """Quantiles of the values of the nearest calls; there must be a call."""
        count = len(self.values)
        place = size + TIE * load
        start = max(0, min(bisect_left(self.places, place) - NEAR // 2, count - NEAR))
        stop = start + NEAR
        values = self.values[start:stop]
        wanted = max(self.least, int(self.share * sqrt(count)))
        if wanted < len(values):
            distances = [
                abs(its_place - place) + LOAD_WEIGHT * abs(its_load - load) + SPEED_WEIGHT * abs(its_speed - speed)
                for its_place, its_load, its_speed in zip(
                    self.places[start:stop], self.loads[start:stop], self.speeds[start:stop], strict=True
                )
            ]
            farthest = sorted(distances)[wanted - 1]
            return at_levels(
                sorted([value for value, distance in zip(values, distances, strict=True) if distance <= farthest])
            )
        return at_levels(sorted(values))

    def arrays(self) -> list[array[float]]:
        """All there is to keep."""
        in_order = self.queue[self.oldest :] + self.queue[: self.oldest]
        return [in_order, self.loads, self.speeds, self.values]

    def restore(self, arrays: Sequence[array[float]]) -> None:
        self.queue, self.loads, self.speeds, self.values = arrays
        self.places, self.oldest = array("f", sorted(self.queue)), 0


def at_levels(ascending: Sequence[float]) -> list[float]:
    """The quantiles at `LEVELS` of one or more ascending values."""
    if len(ascending) == 1:
        return [ascending[0]] * len(LEVELS)
    return [
        ascending[below] + share * (ascending[below + 1] - ascending[below]) for below, share in _places(len(ascending))
    ]


@lru_cache(LARGEST)
def _places(count: int) -> tuple[tuple[int, float], ...]:
    """For each level the index of the value below, and the share of the way to the next."""
    ranks = [min(max(level * (count + 1) - 1, 0.0), count - 1.0) for level in LEVELS]
    return tuple((below, rank - below) for rank in ranks for below in [min(int(rank), count - 2)])
