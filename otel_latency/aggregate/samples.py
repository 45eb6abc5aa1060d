"""The latest value of every sample, and five minutes of it by the second.

A series keeps one point per second (the last one of that second), so the live page can ask for the range of a window.
Counters keep growing inside through a restart of what they count, so their rates never go negative. A series without a
sample for a minute, or for three cadences of its source where that is longer, is stale and goes.

Memory: 2.4 KiB per series, at most `max_series` of them; series beyond that are dropped and counted in `dropped`.
Cost: about 1 us per sample.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf, isnan, nan
from typing import Final, NamedTuple

from otel_latency.records import Family, Labels, Sample, ValueSeries

_POINTS: Final = 300
_STALE: Final = 60.0
_STALE_CADENCES: Final = 3
_EXPIRE_EVERY: Final = 10.0
_EMPTY: Final = array("d", [nan]) * _POINTS

Key = tuple[str, Labels]


class Range(NamedTuple):
    """What a series did in a window."""

    minimum: float
    maximum: float
    mean: float
    last: float


class SampleTable:
    """Samples in, values and windows out. Times are Unix seconds."""

    def __init__(self, *, max_series: int = 2000) -> None:
        self.dropped = 0
        self._max_series = max_series
        self._series: dict[Key, _Series] = {}
        self._sources: dict[str, _Source] = {}
        self._expired = 0.0

    def put(self, source: str, samples: Iterable[Sample], now: float) -> None:
        """Take what *source* measured at *now*."""
        origin = self._sources.setdefault(source, _Source(source))
        origin.seen(now)
        if abs(now - self._expired) >= _EXPIRE_EVERY:
            self._expire(now)
        for sample in samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            series = self._series.get(key) or self._add(key, sample, origin, now)
            if series is not None:
                series.put(sample.value, now)

    def value(self, name: str, /, **labels: str) -> float | None:
        """The latest value of one series."""
        series = self._find(name, labels)
        return None if series is None else series.value

    def window(self, name: str, seconds: float, now: float, /, **labels: str) -> Range | None:
        """The range of a gauge over the last *seconds* (five minutes at most); None without a point in it."""
        series = self._find(name, labels)
        values = [] if series is None else [value for _, value in series.points(seconds, now)]
        return Range(min(values), max(values), sum(values) / len(values), values[-1]) if values else None

    def rate(self, name: str, seconds: float, now: float, /, **labels: str) -> float | None:
        """Growth per second of a counter over the last *seconds*; None with fewer than two points in it."""
        series = self._find(name, labels)
        points = [] if series is None else series.points(seconds, now)
        if len(points) < 2:
            return None
        (start, first), (end, last) = points[0], points[-1]
        return (last - first) / (end - start)

    def families(self, now: float) -> list[Family]:
        """Everything that is not stale, by name and then by labels."""
        by_name: defaultdict[str, list[tuple[Labels, _Series]]] = defaultdict(list)
        for (name, labels), series in sorted(self._series.items(), key=lambda item: item[0]):
            if not series.is_stale(now):
                by_name[name].append((labels, series))
        return [_family(name, members) for name, members in by_name.items()]

    def minutes(self, slot: int) -> Iterator[tuple[str, Labels, list[float] | None]]:
        """Name and labels of each series, and its values by the second in the Unix minute *slot*, if there are any.

        A counter's values are without its resets. To be walked at leisure, while series come and go.
        """
        for (name, labels), series in list(self._series.items()):
            values = [value for _, value in series.between(slot * 60, slot * 60 + 60)]
            yield name, labels, values or None

    def _find(self, name: str, labels: dict[str, str]) -> _Series | None:
        return self._series.get((name, tuple(sorted(labels.items()))))

    def _add(self, key: Key, sample: Sample, origin: _Source, now: float) -> _Series | None:
        if len(self._series) >= self._max_series:
            self.dropped += 1
            return None
        return self._series.setdefault(key, _Series(sample, origin, now))

    def _expire(self, now: float) -> None:
        self._expired = now
        self._series = {key: series for key, series in self._series.items() if not series.is_stale(now)}


class _Source:
    """Who puts, and how often: the cadence is known from its second put on, and nothing goes stale before."""

    __slots__ = ("_last", "name", "stale_after")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stale_after = inf
        self._last: float | None = None

    def seen(self, now: float) -> None:
        if self._last is not None and now > self._last:
            self.stale_after = max(_STALE, _STALE_CADENCES * (now - self._last))
        self._last = now


class _Series:
    """One series and its points; `value` is as it was put, the points of a counter are without its resets."""

    __slots__ = ("_offset", "_points", "_second", "_updated", "help", "is_counter", "origin", "value")

    def __init__(self, sample: Sample, origin: _Source, now: float) -> None:
        self.value = sample.value
        self.is_counter = sample.is_counter
        self.help = sample.help
        self.origin = origin
        self._offset = 0.0
        self._points = array("d", _EMPTY)
        self._second = int(now)
        self._updated = now

    def put(self, value: float, now: float) -> None:
        if self.is_counter and value < self.value:
            self._offset += self.value
        self.value, self._updated = value, now
        self._advance(int(now))
        self._points[self._second % _POINTS] = value + self._offset

    def points(self, seconds: float, now: float) -> list[tuple[int, float]]:
        """(second, value) of each point in the last *seconds*, oldest first."""
        return self.between(int(now - seconds) + 1, self._second + 1)

    def between(self, start: int, stop: int) -> list[tuple[int, float]]:
        """(second, value) of each point that is kept, from *start* on and before *stop*."""
        seconds = range(max(start, self._second - _POINTS + 1), min(stop, self._second + 1))
        found = ((second, self._points[second % _POINTS]) for second in seconds)
        return [(second, value) for second, value in found if not isnan(value)]

    def is_stale(self, now: float) -> bool:
        return now - self._updated > self.origin.stale_after

    def _advance(self, second: int) -> None:
        """Make *second* the newest; after a small step back of the clock the newest stays until time catches up."""
        if abs(second - self._second) >= _POINTS:
            self._points[:] = _EMPTY
            self._second = second
        for skipped in range(self._second + 1, second):
            self._points[skipped % _POINTS] = nan
        self._second = max(self._second, second)


def _family(name: str, members: Sequence[tuple[Labels, _Series]]) -> Family:
    kinds = {"counter" if series.is_counter else "gauge" for _, series in members}
    return Family(
        name,
        kinds.pop() if len(kinds) == 1 else "untyped",
        next((series.help for _, series in members if series.help), f"From the collector {members[0][1].origin.name}."),
        [ValueSeries(labels, series.value) for labels, series in members],
    )
