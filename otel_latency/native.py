"""The inner loops of counting, each in two forms: compiled where that could be built, and here in Python.

Both give the same answers, bit for bit but for the last digit of a sum. Arrays are `array.array`s: of doubles ("d") for
values and bounds, of signed 64-bit integers ("q") for counts and quanta.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from math import ceil, isfinite, log2

from otel_latency.records import Profile, SpanRow

PER_OCTAVE = 64

MAX_NAMES = 32

Column = tuple["array[float]", "array[int]", SpanRow]
"""Values, the quantum that each one's span ended in, and the row of the largest."""

Pile = tuple[Profile, Column, dict[str, float], dict[str, Column]]
"""Of all rows of one profile: durations in seconds (negative where the end lies before the start), the sum of each
measure, and the values of each measure that is a latency."""


def py_summarise(values: array[float]) -> tuple[float, float, float]:
    """(sum, minimum, maximum); infinities for no values. Raises ValueError when a value is not finite."""
    if not all(map(isfinite, values)):
        raise ValueError("a value is not a finite number")
    return sum(values, 0.0), min(values, default=float("inf")), max(values, default=float("-inf"))


def py_count_buckets(values: array[float]) -> dict[int, int]:
    """Counts by bucket index (see `sketch`); values at or below zero are passed over."""
    return dict(Counter([ceil(log2(value) * PER_OCTAVE) for value in values if value > 0]))


def py_count_bounds(values: array[float], bounds: array[float], counts: array[int]) -> None:
    """Add to `counts[i]` the values at or below `bounds[i]` and above the bound before; to the last one the rest."""
    for value in values:
        counts[bisect_left(bounds, value)] += 1


def py_add_counts(into: dict[int, int], counts: dict[int, int]) -> None:
    """Add every count of *counts* to *into*."""
    for index, count in counts.items():
        into[index] = into.get(index, 0) + count


def py_split(values: array[float], keys: array[int]) -> dict[int, array[float]]:
    """*values* grouped by the key at the same place, in order."""
    groups: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return dict(groups)


class PyPiles:
    """Rows taken apart as they come, by profile, so that they need not be kept until they are counted.

    A row's duration is its measure `duration` where it has one (a float), else the time from its start to its end.
    """

    def __init__(self, quantum_ns: int, latencies: dict[str, object]) -> None:
        self._quantum_ns = quantum_ns
        self._latencies = latencies
        self._piles: dict[Profile, tuple[_Column, dict[str, float], dict[str, _Column]]] = {}

    def add(self, rows: list[SpanRow]) -> None:
        """Take rows in; measures that are not numbers are passed over, and so are names beyond 32 per profile."""
        for row in rows:
            durations, sums, latencies = self._piles.setdefault(row[0], (_Column(), {}, {}))
            quantum = row[5] // self._quantum_ns
            measures = row[6] or {}
            told = measures.get("duration")
            durations.push(told if isinstance(told, float) else (row[5] - row[4]) * 1e-9, quantum, row)
            for name, value in measures.items():
                if not isinstance(value, int | float):
                    continue
                if name not in sums and name not in latencies and len(sums) + len(latencies) >= MAX_NAMES:
                    continue
                if name in self._latencies:
                    latencies.setdefault(name, _Column()).push(value, quantum, row)
                else:
                    sums[name] = sums.get(name, 0.0) + value

    def take(self) -> list[Pile]:
        """Everything since the last take."""
        piles, self._piles = self._piles, {}
        return [
            (profile, durations.column(), sums, {name: column.column() for name, column in latencies.items()})
            for profile, (durations, sums, latencies) in piles.items()
        ]


class _Column:
    def __init__(self) -> None:
        self.values = array("d")
        self.quanta = array("q")
        self.largest: SpanRow | None = None
        self.maximum = float("-inf")

    def push(self, value: float, quantum: int, row: SpanRow) -> None:
        if self.largest is None or value > self.maximum:
            self.largest, self.maximum = row, value
        self.values.append(value)
        self.quanta.append(quantum)

    def column(self) -> Column:
        assert self.largest
        return self.values, self.quanta, self.largest


try:
    from otel_latency._native import Piles, add_counts, count_bounds, count_buckets, split, summarise
except ImportError:
    Piles = PyPiles  # type: ignore[assignment,misc]
    add_counts, count_bounds, count_buckets = py_add_counts, py_count_bounds, py_count_buckets
    split, summarise = py_split, py_summarise

__all__ = ["Pile", "Piles", "add_counts", "count_bounds", "count_buckets", "split", "summarise"]
