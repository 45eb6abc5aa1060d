"""The recent past of one series: rings of 250 ms, 1 s and 1 min windows, and quantiles that slide over them.

A delta (a sketch of values that ended in the same 250 ms) is added to its window at every resolution, so a coarse
window always equals the merge of the fine ones under it, late arrivals included. A sliding quantile is exact while
its horizon holds at most `EXACT_LIMIT` values; beyond that it comes from running bucket counts, which windows join
when they close and leave when they are too old, so that reading costs the same at any rate.

Beside the rings, what is new in each minute waits to be taken once. No step of the clock touches it: each value is in
one of the minutes that `take_minutes` tells, also one that is too old for every ring.

Memory per series: at most 240 + 300 + 60 windows, of 8 bytes a value up to 250 values, else 12 bytes a bucket, and
`MAX_UNTAKEN` minutes that wait. A series without traffic holds nothing, and one that saw a single delta some 500 bytes,
200 of them until it is taken.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from otel_latency.native import split
from otel_latency.sketch import EXACT_LIMIT, Buckets, Sketch, nearest_rank

QUANTUM_NS = 250_000_000
"""Width of the finest window; every delta lies in one of them."""


class Resolution(NamedTuple):
    """A ring: `quanta` of 250 ms to a window, `length` windows kept."""

    name: str
    quanta: int
    length: int


REAL_TIME = Resolution("250ms", 1, 240)
SYSTEM = Resolution("1s", 4, 300)
AGGREGATE = Resolution("1m", 240, 60)

OLDEST = max(resolution.quanta * resolution.length for resolution in (REAL_TIME, SYSTEM, AGGREGATE))

SET_BACK = 240
OLDEST_MINUTE = 2 * 24 * 60
"""Ends before that are told in the minute so long ago: right where a clock is wrong by a day or an exporter was cut off
for one, and yet there is no end to how wrong a clock can be."""
MAX_UNTAKEN = 600
"""Minutes that wait to be taken; when there are more, what ended in others is told in the one that came last."""

HORIZONS = {"10s": (REAL_TIME, 40), "1m": (SYSTEM, 60), "5m": (SYSTEM, 300)}
"""Sliding window -> the ring it slides over and its length in windows of that ring."""


class Ring:
    """Windows of one resolution by index; the index of a window is its Unix start divided by its width."""

    __slots__ = ("_length", "_tail", "width", "windows")

    def __init__(self, resolution: Resolution) -> None:
        self.width = resolution.quanta
        self._length = resolution.length
        self._tail = 0  # windows below it have left
        self.windows: dict[int, Sketch] = {}

    def index(self, quantum: int) -> int:
        """The window that a 250 ms quantum belongs to."""
        return quantum // self.width

    def add(self, index: int, delta: Sketch) -> None:
        """Merge *delta* into window *index*; one that has left the ring already is passed over."""
        if index < self._tail:
            return
        window = self.windows.get(index)
        if window is None:
            window = self.windows[index] = Sketch()
        window.merge(delta)

    def advance(self, quantum: int) -> None:
        """Drop what is older than the ring is long, and pack what will hardly change again."""
        now = self.index(quantum)
        for index in _between(self.windows, self._tail, now - self._length + 1):
            del self.windows[index]
        self._tail = max(self._tail, now - self._length + 1)
        settled = self.windows.get(now - 2)
        if settled is not None:
            settled.pack()


class SlidingQuantiles:
    """Quantiles over the last windows of a ring.

    Windows join the running counts when they close, so a busy series pays per window and not per value; what arrives
    late is added at once, and the open window is counted when somebody reads.
    """

    __slots__ = ("_closed", "_head", "_length", "_ring", "_tail")

    def __init__(self, ring: Ring, length: int) -> None:
        self._ring = ring
        self._length = length
        self._tail = 0  # the oldest window inside the horizon
        self._head = 0  # the first window that is not in the running counts
        self._closed = Buckets()

    def add(self, index: int, delta: Sketch) -> None:
        """Account for a delta that has just been added to window *index* of the ring."""
        if self._tail <= index < self._head:
            self._closed.add(delta.buckets())

    def advance(self, quantum: int) -> None:
        """Move the end of the horizon to the window that *quantum* lies in."""
        head = self._ring.index(quantum)
        tail = head - self._length + 1
        windows = self._ring.windows
        for index in _between(windows, self._tail, min(tail, self._head)):
            self._closed.add(windows[index].buckets(), -1)
        for index in _between(windows, max(self._head, tail), head):
            self._closed.add(windows[index].buckets())
        self._tail, self._head = max(self._tail, tail), max(self._head, head)

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """For ascending *qs*; NaN while the horizon is empty."""
        inside = [window for index, window in self._ring.windows.items() if index >= self._tail]
        count = sum(window.count for window in inside)
        if not count:
            return [float("nan")] * len(qs)
        ranks = [nearest_rank(q, count) for q in qs]
        if count <= EXACT_LIMIT:
            values = sorted(value for window in inside for value in window.values)
            return [values[rank - 1] for rank in ranks]
        buckets = self._closed.copy()
        for index, window in self._ring.windows.items():
            if index >= self._head:
                buckets.add(window.buckets())
        low, high = min(window.minimum for window in inside), max(window.maximum for window in inside)
        return [min(max(value, low), high) for value in buckets.at_ranks(count - buckets.total(), ranks)]


class Windows:
    """All rings and sliding quantiles of one series.

    They are built when a second delta comes: a flood of names is a flood of series that see one span each.
    """

    __slots__ = ("_first", "_levels", "_quantum", "_rings", "_sliding", "_untaken")

    def __init__(self) -> None:
        self._untaken: dict[int, Sketch] = {}
        self._start_over()

    def _start_over(self) -> None:
        self._quantum = 0
        self._first: tuple[array[float], array[int]] | None = None
        self._rings: dict[Resolution, Ring] = {}
        self._sliding: dict[str, SlidingQuantiles] = {}
        self._levels: list[tuple[Ring, list[SlidingQuantiles]]] = []

    def add(self, values: array[float], quanta: array[int]) -> None:
        """Count *values*; each ended in the quantum (Unix time divided by 250 ms) at the same place in *quanta*.

        What ended before a ring begins is passed over there.
        """
        groups = split(values, quanta)
        if not self._levels and self._first is None:
            self._first = values, quanta
            minutes = {
                quantum // AGGREGATE.quanta: Sketch(group)
                for quantum, group in _joined(groups, AGGREGATE.quanta).items()
            }
        else:
            self._build()
            minutes = self._spread(groups)
        self._wait(minutes)

    def advance(self, quantum: int) -> None:
        """Move the present to *quantum*; calling twice, or going back a little, changes nothing.

        When the clock was set back by more than a minute, the windows start anew: those ahead of it would hide what
        comes until it has caught up with them.
        """
        if quantum < self._quantum - SET_BACK:
            self._start_over()
        if quantum <= self._quantum:
            return
        self._quantum = quantum
        for sliding in self._sliding.values():
            sliding.advance(quantum)
        for ring in self._rings.values():
            ring.advance(quantum)

    def sliding(self, qs: Sequence[float], horizons: Iterable[str] = HORIZONS) -> Iterator[tuple[str, list[float]]]:
        """(horizon, quantiles) for each of *horizons*."""
        if self._first is not None:
            return self._twin().sliding(qs, horizons)
        self._build()
        return ((name, self._sliding[name].quantiles(qs)) for name in horizons)

    def ring(self, resolution: Resolution) -> dict[int, Sketch]:
        """The windows of *resolution* that hold anything, by index."""
        if self._first is not None:
            return self._twin().ring(resolution)
        self._build()
        return self._rings[resolution].windows

    def window(self, resolution: Resolution, index: int) -> Sketch | None:
        """One window of *resolution*, None where it holds nothing. Builds no rings, so that asking costs no memory."""
        if self._first is not None:
            pairs = zip(*self._first, strict=True)
            inside = array("d", [value for value, quantum in pairs if quantum // resolution.quanta == index])
            return Sketch(inside) if inside else None
        ring = self._rings.get(resolution)
        return None if ring is None else ring.windows.get(index)

    def take_minutes(self) -> list[tuple[int, Sketch]]:
        """The Unix minutes in which something is new since this was called last, and what; no value is told twice."""
        taken, self._untaken = self._untaken, {}
        return sorted(taken.items())

    def _wait(self, minutes: dict[int, Sketch]) -> None:
        """Keep what is new until it is taken."""
        untaken, oldest = self._untaken, self._quantum // AGGREGATE.quanta - OLDEST_MINUTE
        for minute, delta in minutes.items():
            index = max(minute, oldest)
            if index not in untaken and len(untaken) >= MAX_UNTAKEN:
                index = next(reversed(untaken))
            if index in untaken:
                untaken[index].merge(delta)
            else:
                untaken[index] = delta

    def _spread(self, groups: dict[int, array[float]]) -> dict[int, Sketch]:
        """Add values, by quantum, to every ring; the same by minute, which is the coarsest."""
        deltas: dict[int, Sketch] = {}
        for ring, over in self._levels:
            groups = _joined(groups, ring.width)
            deltas = {quantum // ring.width: Sketch(group) for quantum, group in groups.items()}
            for index, delta in deltas.items():
                ring.add(index, delta)
                for sliding in over:
                    sliding.add(index, delta)
        return deltas

    def _twin(self) -> Windows:
        """The same, built: to be read and forgotten."""
        assert self._first is not None
        twin = Windows()
        twin.advance(self._quantum)
        twin._build()
        twin._spread(split(*self._first))
        return twin

    def _build(self) -> None:
        if self._levels:
            return
        self._rings = {resolution: Ring(resolution) for resolution in (REAL_TIME, SYSTEM, AGGREGATE)}
        self._sliding = {name: SlidingQuantiles(self._rings[ring], length) for name, (ring, length) in HORIZONS.items()}
        self._levels = [
            (ring, [self._sliding[name] for name, (over, _) in HORIZONS.items() if over is resolution])
            for resolution, ring in self._rings.items()
        ]
        for sliding in self._sliding.values():
            sliding.advance(self._quantum)
        for ring in self._rings.values():
            ring.advance(self._quantum)
        first, self._first = self._first, None
        if first is not None:
            self._spread(split(*first))


def _joined(groups: dict[int, array[float]], width: int) -> dict[int, array[float]]:
    """*groups* by quantum, with those that share a window of *width* quanta in one, under the first of their quanta."""
    if len(groups) == 1:
        return groups
    joined: dict[int, tuple[int, array[float]]] = {}
    for quantum, group in groups.items():
        known = joined.get(quantum // width)
        joined[quantum // width] = (known[0], known[1] + group) if known else (quantum, group)
    return dict(joined.values())


def _between(windows: dict[int, Sketch], start: int, stop: int) -> list[int]:
    """The indexes of *windows* in start..stop-1, by whichever walk is shorter."""
    if stop - start < len(windows):
        return [index for index in range(start, stop) if index in windows]
    return [index for index in windows if start <= index < stop]
