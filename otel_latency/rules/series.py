"""The series that rules are evaluated over: columns of times and values, kept for as long as a rule can ask.

A range of a series is found in O(log n), and so are the places in it where the value fell or changed: they are noted
once, when first asked for. Stale markers are kept apart from the samples. What a selector matches is remembered until
a series of its name comes or goes.

Memory: 16 bytes per sample and at most a fifth of slack, plus about 1 KiB per series.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from otel_latency.records import Labels
from otel_latency.rules.promql.matchers import compile_matcher
from otel_latency.rules.promql.nodes import METRIC_NAME, Matcher, MatchOp
from otel_latency.rules.promql.values import Semantics

_MAX_SELECTIONS = 10_000  # more than any rules ask for; what templates query may be without end
_SLACK_PARTS = 8  # expired samples are cut off once they are an eighth of what is kept


class Marks:
    """The places of a series whose value stands in a relation to the one before; found when first asked for."""

    __slots__ = ("_is_mark", "_places", "_seen", "_series")

    def __init__(self, series: Series, is_mark: Callable[[float, float], bool]) -> None:
        self._series = series
        self._is_mark = is_mark
        self._places = array("q")  # counted from the first sample that there ever was
        self._seen = 0

    def between(self, first: int, last: int) -> Sequence[int]:
        """The places p with *first* < p <= *last*, ascending; like those, they count samples that are kept."""
        cut = self._series.cut
        places = self._catch_up(cut)
        if not places:
            return ()
        low = bisect_right(places, first + cut)
        return [place - cut for place in places[low : bisect_right(places, last + cut, low)]]

    def forget(self, cut: int) -> None:
        """Drop the places of the first *cut* samples that there ever were."""
        del self._places[: bisect_right(self._places, cut)]

    def size_bytes(self) -> int:
        return sys.getsizeof(self._places)

    def _catch_up(self, cut: int) -> array[int]:
        values, is_mark = self._series.values, self._is_mark
        end = cut + len(values)
        if self._seen == end:
            return self._places
        start = max(self._seen - cut, 1)
        found = [
            place
            for place, (before, value) in enumerate(zip(values[start - 1 :], values[start:], strict=False), start + cut)
            if is_mark(before, value)
        ]
        self._seen = end
        self._places.extend(found)
        return self._places


def _is_fall(before: float, value: float) -> bool:
    return value < before


def _is_change(before: float, value: float) -> bool:
    return value != before and not (value != value and before != before)  # noqa: PLR0124 - NaN is like NaN here


class Series:
    """The samples of one label set, oldest first, and the times at which the series was said to have ended."""

    __slots__ = ("_changes", "_resets", "cut", "ends", "keep_ms", "labels", "times", "values")

    def __init__(self, labels: Labels, keep_ms: int = sys.maxsize) -> None:
        self.labels = labels
        self.keep_ms = keep_ms
        self.times = array("q")
        self.values = array("d")
        self.ends: list[int] = []
        self.cut = 0  # how many samples there were before the first that is kept
        self._resets: Marks | None = None
        self._changes: Marks | None = None

    @property
    def newest_ms(self) -> int:
        """The time of the newest sample or end; below every time when there is none."""
        newest = self.times[-1] if self.times else -sys.maxsize
        return max(newest, self.ends[-1]) if self.ends else newest

    def append(self, at_ms: int, value: float) -> None:
        """Add a sample; one that is not newer than the newest is ignored."""
        times = self.times
        if times:
            if at_ms <= times[-1]:
                return
            if at_ms - times[0] > self.keep_ms + self.keep_ms // _SLACK_PARTS:
                self.trim(at_ms)
        if self.ends and at_ms <= self.ends[-1]:
            return
        times.append(at_ms)
        self.values.append(value)

    def end(self, at_ms: int) -> None:
        """Say that the series ended at *at_ms*; ignored unless newer than the newest sample."""
        if at_ms > self.newest_ms:
            self.ends.append(at_ms)

    def trim(self, now_ms: int) -> None:
        """Forget what was before *now_ms* - `keep_ms`."""
        oldest = now_ms - self.keep_ms
        if self.ends and self.ends[0] < oldest:
            self.ends = [at_ms for at_ms in self.ends if at_ms >= oldest]
        count = bisect_right(self.times, oldest - 1)
        if count:
            del self.times[:count]
            del self.values[:count]
            self.cut += count
            for marks in (self._resets, self._changes):
                if marks is not None:
                    marks.forget(self.cut)

    def shift(self, by_ms: int) -> None:
        """Move every time."""
        self.times = array("q", [at_ms + by_ms for at_ms in self.times])
        self.ends = [at_ms + by_ms for at_ms in self.ends]

    def newest(self, at_ms: int, after_ms: int) -> int:
        """The place of the newest sample up to *at_ms*; -1 when it is not after *after_ms*, or the series ended."""
        times = self.times
        if not times:
            return -1
        place = len(times) - 1
        if times[place] > at_ms:
            place = bisect_right(times, at_ms) - 1
        if place < 0 or times[place] <= after_ms:
            return -1
        if self.ends and self._has_ended(times[place], at_ms):
            return -1
        return place

    def _has_ended(self, since_ms: int, at_ms: int) -> bool:
        before = bisect_right(self.ends, at_ms)
        return before > 0 and self.ends[before - 1] > since_ms

    def resets(self, first: int, last: int) -> Sequence[int]:
        """The places p with *first* < p <= *last* whose value is below the one before."""
        if self._resets is None:
            self._resets = Marks(self, _is_fall)
        return self._resets.between(first, last)

    def changes(self, first: int, last: int) -> Sequence[int]:
        """The places p with *first* < p <= *last* whose value differs from the one before; NaN is like NaN."""
        if self._changes is None:
            self._changes = Marks(self, _is_change)
        return self._changes.between(first, last)

    def size_bytes(self) -> int:
        """What the columns take, slack included."""
        marks = sum(marks.size_bytes() for marks in (self._resets, self._changes) if marks is not None)
        return sys.getsizeof(self.times) + sys.getsizeof(self.values) + sys.getsizeof(self.ends) + marks


Retention = Callable[[Labels], int | None]
"""For how many milliseconds a series is to be kept; None: no rule can ask for it."""


class SeriesTable:
    """All series, by their labels; *retention* is asked once about each series that is kept."""

    def __init__(self, retention: Retention, *, semantics: Semantics = 3) -> None:
        self._retention = retention
        self._semantics = semantics
        self._series: dict[Labels, Series] = {}
        self._by_name: dict[str, dict[Labels, Series]] = {}
        self._selected: dict[str | None, dict[tuple[Matcher, ...], Sequence[Series]]] = {}
        self._selections = 0

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self._series.values())

    def open(self, labels: Labels) -> Series | None:
        """The series to add samples to; None when no rule can ask for it."""
        series = self._series.get(labels)
        if series is None:
            keep_ms = self._retention(labels)
            if keep_ms is None:
                return None
            series = self._add(labels, keep_ms)
        return series

    def append(self, labels: Labels, at_ms: int, value: float) -> None:
        """Add a sample; it is ignored when no rule can ask for it, or when it is not newer than the newest."""
        series = self.open(labels)
        if series is not None:
            series.append(at_ms, value)

    def end(self, labels: Labels, at_ms: int) -> None:
        """Mark that a series ended; unknown ones have nothing to end."""
        series = self._series.get(labels)
        if series is not None:
            series.end(at_ms)

    def select(self, matchers: Sequence[Matcher]) -> Sequence[Series]:
        """The series that all *matchers* fit, in the order in which they came; remembered, for rules ask again."""
        name = _exact_name(matchers)
        known = self._selected.setdefault(name, {})
        key = tuple(matchers)
        found = known.get(key)
        if found is None:
            self._selections += 1
            if self._selections > _MAX_SELECTIONS:
                self._selected.clear()
                self._selections = 1
                known = self._selected.setdefault(name, {})
            found = known[key] = self.find(matchers)
        return found

    def find(self, matchers: Sequence[Matcher]) -> Sequence[Series]:
        """The same for what is asked once."""
        name = _exact_name(matchers)
        candidates = self._series if name is None else self._by_name.get(name, {})
        return _matching(candidates.values(), matchers, self._semantics)

    def shift(self, by_ms: int) -> None:
        """Move every time, for the clock was set."""
        for series in self._series.values():
            series.shift(by_ms)

    def retain(self, retention: Retention, now_ms: int) -> None:
        """Keep what other rules can ask from now on."""
        self._retention = retention
        for series in list(self._series.values()):
            keep_ms = retention(series.labels)
            if keep_ms is None:
                self._remove(series)
            else:
                series.keep_ms = keep_ms
        self.trim(now_ms)

    def trim(self, now_ms: int) -> None:
        """Forget samples that no rule can ask for any more, and series without samples."""
        for series in list(self._series.values()):
            series.trim(now_ms)
            if not series.times:
                self._remove(series)

    def sample_count(self) -> int:
        return sum(len(series.times) for series in self._series.values())

    def size_bytes(self) -> int:
        """What the columns of all series take, slack included."""
        return sum(series.size_bytes() for series in self._series.values())

    def _add(self, labels: Labels, keep_ms: int) -> Series:
        series = self._series[labels] = Series(labels, keep_ms)
        name = _name(labels)
        self._by_name.setdefault(name, {})[labels] = series
        self._forget_selected(name)
        return series

    def _remove(self, series: Series) -> None:
        name = _name(series.labels)
        del self._series[series.labels]
        del self._by_name[name][series.labels]
        if not self._by_name[name]:
            del self._by_name[name]
        self._forget_selected(name)

    def _forget_selected(self, name: str) -> None:
        self._selected.pop(name, None)
        self._selected.pop(None, None)


def _name(labels: Labels) -> str:
    return next((value for label, value in labels if label == METRIC_NAME), "")


def _exact_name(matchers: Sequence[Matcher]) -> str | None:
    """The one metric that can match, where the matchers say so."""
    return next((m.value for m in matchers if m.label == METRIC_NAME and m.op is MatchOp.EQUAL), None)


def _matching(candidates: Iterable[Series], matchers: Sequence[Matcher], semantics: Semantics) -> Sequence[Series]:
    tests = [(matcher.label, compile_matcher(matcher, semantics=semantics)) for matcher in matchers]
    found = []
    for series in candidates:
        values = dict(series.labels)
        if all(test(values.get(label, "")) for label, test in tests):
            found.append(series)
    return found
