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
GENERATION = 65_536

Column = tuple["array[float]", "array[int]", float, float, int, int, SpanRow]
"""Values, the quantum that each one's span ended in, minimum, maximum, oldest and newest quantum, and the row of the
largest."""

Pile = tuple[Profile, int, Column | None, dict[str, float], dict[str, Column]]
"""Of all rows of one profile: how many, their durations in seconds (negative where the end lies before the start), the
sum of each measure, and the values of each measure that is a latency."""


def py_summarise(values: array[float]) -> tuple[float, float, float]:
    """(sum, minimum, maximum); infinities for no values. Raises ValueError when a value is not finite."""
    if not all(map(isfinite, values)):
        raise ValueError("a value is not a finite number")
    return sum(values, 0.0), min(values, default=float("inf")), max(values, default=float("-inf"))


def py_count_buckets(values: array[float]) -> tuple[int, array[int]]:
    """The index of the first bucket (see `sketch`) and the counts from there on; values <= 0 are in none."""
    counts = Counter([ceil(log2(value) * PER_OCTAVE) for value in values if value > 0 and isfinite(value)])
    low = min(counts, default=0)
    return low, array("q", [counts[index] for index in range(low, max(counts, default=low - 1) + 1)])


def py_count_bounds(values: array[float], bounds: array[float], counts: array[int]) -> None:
    """Add to `counts[i]` the values at or below `bounds[i]` and above the bound before; to the last one the rest."""
    for value in values:
        counts[bisect_left(bounds, value)] += 1


def py_add_at(into: array[int], at: int, counts: array[int], sign: int) -> None:
    """Add *sign* times each of *counts* to *into*, from place *at* on. Raises IndexError where they do not fit."""
    if not 0 <= at <= len(into) - len(counts):
        raise IndexError("the counts do not fit there")
    for place, count in enumerate(counts, at):
        into[place] += sign * count


def py_split(values: array[float], keys: array[int]) -> dict[int, array[float]]:
    """*values* grouped by the key at the same place, in order."""
    groups: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
    for key, value in zip(keys, values, strict=True):
        groups[key].append(value)
    return dict(groups)


class PyPiles:
    """Rows taken apart as they come, by profile, so that they need not be kept until they are counted.

    A row's duration is its measure `duration` where it has one (a float), else the time from its start to its end; a
    row without a start or an end has none.
    """

    def __init__(self, quantum_ns: int, latencies: dict[str, object]) -> None:
        self._quantum_ns = quantum_ns
        self._latencies = latencies
        self._piles: dict[Profile, tuple[_Column, dict[str, float], dict[str, _Column]]] = {}
        self._counts: Counter[Profile] = Counter()

    def add(self, rows: list[SpanRow]) -> int:
        """Take rows in; measures that are not numbers are passed over, and so are names beyond 32 per profile.

        Returns how many profiles wait to be taken.
        """
        for row in rows:
            durations, sums, latencies = self._piles.setdefault(row[0], (_Column(), {}, {}))
            self._counts[row[0]] += 1
            quantum = row[5] // self._quantum_ns
            measures = row[6] or {}
            told = measures.get("duration")
            if isinstance(told, float):
                durations.push(told, quantum, row)
            elif row[4] and row[5]:
                durations.push((row[5] - row[4]) * 1e-9, quantum, row)
            for name, value in measures.items():
                if not isinstance(value, int | float):
                    continue
                if name not in sums and name not in latencies and len(sums) + len(latencies) >= MAX_NAMES:
                    continue
                if name in self._latencies:
                    latencies.setdefault(name, _Column()).push(value, quantum, row)
                else:
                    sums[name] = sums.get(name, 0.0) + value
        return len(self._piles)

    def take(self) -> list[Pile]:
        """Everything since the last take."""
        piles, self._piles = self._piles, {}
        counts, self._counts = self._counts, Counter()
        return [
            (
                profile,
                counts[profile],
                durations.column() if durations.values else None,
                sums,
                {name: column.column() for name, column in latencies.items()},
            )
            for profile, (durations, sums, latencies) in piles.items()
        ]


class _Column:
    def __init__(self) -> None:
        self.values = array("d")
        self.quanta = array("q")
        self.rows: list[SpanRow] = []

    def push(self, value: float, quantum: int, row: SpanRow) -> None:
        self.values.append(value)
        self.quanta.append(quantum)
        self.rows.append(row)

    def column(self) -> Column:
        largest = max(self.values)
        row = self.rows[self.values.index(largest)]
        return self.values, self.quanta, min(self.values), largest, min(self.quanta), max(self.quanta), row


class PyRecent:
    """Which spans were seen lately, by 64-bit fingerprint: two of 131,072 share one with a chance of 5 in 10^10."""

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(8, "little")
        self._young: set[int] = set()
        self._old: set[int] = set()

    def fresh(self, rows: list[SpanRow]) -> list[SpanRow]:
        """The rows whose (trace id, span id) is not remembered, each once; they are from now on."""
        kept = []
        for row in rows:
            if len(row[1]) != 16 or len(row[2]) != 8:
                raise ValueError("ids have 16 and 8 bytes")
            identity = hash(self._seed + row[1] + row[2])
            if identity not in self._young and identity not in self._old:
                self._young.add(identity)
                kept.append(row)
                if len(self._young) >= GENERATION:
                    self.turn()
        return kept

    def turn(self) -> None:
        """Forget the old generation, and make the young one the old."""
        self._old, self._young = self._young, set()


try:
    from otel_latency._native import Piles, Recent, add_at, count_bounds, count_buckets, split, summarise
except ImportError:
    Piles, Recent = PyPiles, PyRecent  # type: ignore[assignment,misc]
    add_at, count_bounds, count_buckets = py_add_at, py_count_bounds, py_count_buckets
    split, summarise = py_split, py_summarise

__all__ = ["Pile", "Piles", "Recent", "add_at", "count_bounds", "count_buckets", "split", "summarise"]
