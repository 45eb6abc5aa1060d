"""Windows of series: a sketch for each minute, merged to one for each quarter of an hour.

What is written is what is new, and is added to what is there: a minute has a row for each run of the agent that saw
part of it. Quarters are merged from minutes and never averaged, some time after their end. A quarter that has a row
holds all that its minutes hold, or held, so what comes later still, by any step of the clock, is added to both.

Cost: 50 us a minute of a series to write, half of it to merge. Size: some 120 bytes a minute of 60 values, 220 a
quarter of 900.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple, Protocol

from otel_latency.records import Labels
from otel_latency.sketch import Sketch

MINUTE: Final = 60
QUARTER: Final = 900
PER_QUARTER: Final = QUARTER // MINUTE
LATE: Final = 300
"""Seconds after its end when a quarter is merged; most of what comes late has come by then."""
SERIES_PER_STEP: Final = 50
MAX_CACHED: Final = 8192
_ADD: Final = f"""
INSERT INTO minutes (slot, series, run, data) SELECT :slot, :series, :run, :data
    WHERE NOT EXISTS (SELECT 1 FROM quarters WHERE series = :series AND slot = :quarter)
    OR EXISTS (SELECT 1 FROM minutes WHERE series = :series
        AND slot BETWEEN {PER_QUARTER} * :quarter AND {PER_QUARTER} * :quarter + {PER_QUARTER - 1})
    ON CONFLICT (series, slot, run) DO UPDATE SET data = added(data, excluded.data)
"""  # noqa: S608 - all of it is made of our own words
_RANGE: Final = Struct("<cQddd")
_RANGE_FORM: Final = b"r"


class Range:
    """What a gauge did in a window: like a sketch without quantiles."""

    __slots__ = ("count", "maximum", "minimum", "sum")

    def __init__(self, count: int, total: float, minimum: float, maximum: float) -> None:
        self.count = count
        self.sum = total
        self.minimum = minimum
        self.maximum = maximum

    @classmethod
    def of(cls, values: Iterable[float]) -> Range:
        """The range of some *values*, at least one."""
        values = list(values)
        return cls(len(values), sum(values), min(values), max(values))

    def merge(self, other: Range) -> None:
        """Add what *other* saw."""
        self.count += other.count
        self.sum += other.sum
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def to_bytes(self) -> bytes:
        return _RANGE.pack(_RANGE_FORM, self.count, self.sum, self.minimum, self.maximum)

    @classmethod
    def from_bytes(cls, data: bytes) -> Range:
        """Raises ValueError for what `to_bytes` did not write."""
        if len(data) != _RANGE.size:
            raise ValueError("these bytes are no range")
        return cls(*_RANGE.unpack(data)[1:])


Window = Sketch | Range


class Minute(NamedTuple):
    """What is new in one window of one series, to be kept; `slot` is its Unix minute. `window` is nobody else's."""

    name: str
    labels: Labels
    slot: int
    window: Window


def read(data: bytes) -> Window:
    """A window as it was written. Raises ValueError for other bytes."""
    return Range.from_bytes(data) if data[:1] == _RANGE_FORM else Sketch.from_bytes(data)


def merged(rows: Iterable[bytes]) -> Window | None:
    """All of *rows* in one; None when there is nothing. What cannot be read, or is of another kind, is passed over."""
    whole: Window | None = None
    for data in rows:
        try:
            window = read(data)
        except ValueError:
            continue
        if whole is None:
            whole = window
        else:
            _merge(whole, window)
    return whole


def _merge(whole: Window, window: Window) -> None:
    """Add *window*; one of another kind is passed over."""
    if isinstance(whole, Sketch) and isinstance(window, Sketch):  # noqa: SIM114 - apart for the type checker
        whole.merge(window)
    elif isinstance(whole, Range) and isinstance(window, Range):
        whole.merge(window)


def added(before: bytes, new: bytes) -> bytes:
    """Both windows in one, as they are written; statements know it by that name."""
    whole = merged((before, new))
    return new if whole is None else whole.to_bytes()


def added_up(minutes: Iterable[Minute]) -> list[Minute]:
    """The same with one for each minute of each series."""
    found: dict[tuple[str, Labels, int], Minute] = {}
    for one in minutes:
        known = found.setdefault((one.name, one.labels, one.slot), one)
        if known is not one:
            _merge(known.window, one.window)
    return list(found.values())


class SeriesIds:
    """The ids of series, remembered while there are not too many."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Labels], int] = {}

    def find(self, transaction: sqlite3.Connection, name: str, labels: Labels) -> int:
        """The id of a series, a new one where it has none."""
        found = self._known.get((name, labels))
        if found is None:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            key = (name, labels_text(labels))
            transaction.execute("INSERT OR IGNORE INTO series (name, labels) VALUES (?, ?)", key)
            (found,) = transaction.execute("SELECT id FROM series WHERE name = ? AND labels = ?", key).fetchone()
            self._known[name, labels] = found
        return found

    def forget(self) -> None:
        """Look them up again: some may have gone, or never have been written."""
        self._known.clear()


def labels_text(labels: Labels | Mapping[str, str]) -> str:
    """Labels as they are written: JSON, names in order."""
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False)


def insert(transaction: sqlite3.Connection, ids: SeriesIds, run: int, minutes: Iterable[Minute]) -> None:
    """Add *minutes* to what this *run* has of them, and to their quarters where those have been merged.

    Where the minutes of a quarter are gone it is added to that alone: it has all of its minutes, or none.
    """
    rows = [(one.slot, ids.find(transaction, one.name, one.labels), one.window.to_bytes()) for one in minutes]
    transaction.executemany(
        _ADD,
        [
            {"slot": slot, "series": series, "run": run, "data": data, "quarter": slot // PER_QUARTER}
            for slot, series, data in rows
        ],
    )
    first = compacted(transaction)
    quarters = [(slot // PER_QUARTER, series, data) for slot, series, data in rows]
    transaction.executemany(  # it had no minutes, if it has no row
        "INSERT INTO quarters (slot, series, data) VALUES (?, ?, ?)"
        " ON CONFLICT (series, slot) DO UPDATE SET data = added(data, excluded.data)",
        [one for one in quarters if one[0] < first],
    )
    transaction.executemany(  # behind that some have been merged too, by a clock that was ahead
        "UPDATE quarters SET data = added(data, ?) WHERE series = ? AND slot = ?",
        [(data, series, slot) for slot, series, data in quarters if slot >= first],
    )


def compact(connection: sqlite3.Connection, now: float) -> Iterator[None]:
    """Merge the minutes of each quarter that is over and settled; a short transaction at each step.

    Interrupted at any point it goes on with what is missing.
    """
    settled = int(now - LATE) // QUARTER
    while True:
        quarter = _next_quarter(connection, settled)
        if quarter is None:
            return
        set_progress(connection, "compacted", quarter)  # what comes now for those before is added to them at once
        yield from _merge_quarter(connection, quarter)
        set_progress(connection, "compacted", quarter + 1)
        yield


def compacted(connection: sqlite3.Connection) -> int:
    """The first quarter that has not been merged: each series has a row of every one before in which it has minutes."""
    return progress(connection, "compacted")


def progress(connection: sqlite3.Connection, name: str) -> int:
    """A number that is kept; 0 at first."""
    row = connection.execute("SELECT value FROM progress WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_progress(transaction: sqlite3.Connection, name: str, value: int) -> None:
    transaction.execute(
        "INSERT INTO progress (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _next_quarter(connection: sqlite3.Connection, settled: int) -> int | None:
    """The first quarter before *settled* with minutes that are not merged."""
    start = compacted(connection)
    if start > settled:  # the clock went back: merging goes on from there
        set_progress(connection, "compacted", settled)
    if start >= settled:
        return None
    query = "SELECT min(slot) FROM minutes WHERE slot >= ? AND slot < ?"
    (slot,) = connection.execute(query, (start * PER_QUARTER, settled * PER_QUARTER)).fetchone()
    if slot is None:
        set_progress(connection, "compacted", settled)
        return None
    return int(slot) // PER_QUARTER


def _merge_quarter(connection: sqlite3.Connection, quarter: int) -> Iterator[None]:
    """For each series that has no row of it yet."""
    last = 0
    while True:
        chosen = connection.execute(
            "SELECT id FROM series WHERE id > ?"
            " AND NOT EXISTS (SELECT 1 FROM quarters WHERE series = series.id AND slot = ?) ORDER BY id LIMIT ?",
            (last, quarter, SERIES_PER_STEP),
        ).fetchall()
        if not chosen:
            return
        last = chosen[-1][0]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for (series,) in chosen:
                _merge_series(connection, series, quarter)
        yield


def _merge_series(transaction: sqlite3.Connection, series: int, quarter: int) -> None:
    rows = transaction.execute(
        "SELECT data FROM minutes WHERE series = ? AND slot >= ? AND slot < ?",
        (series, quarter * PER_QUARTER, (quarter + 1) * PER_QUARTER),
    )
    whole = merged(data for (data,) in rows)
    if whole is not None:
        transaction.execute(
            "INSERT INTO quarters (slot, series, data) VALUES (?, ?, ?)", (quarter, series, whole.to_bytes())
        )


class Extent(Protocol):
    """What a gauge did in a minute, whoever counted it: `Range` does, and any other class with these."""

    @property
    def count(self) -> int: ...
    @property
    def sum(self) -> float: ...
    @property
    def minimum(self) -> float: ...
    @property
    def maximum(self) -> float: ...


Changed = Callable[[], Iterable[tuple[str, Labels, int, Sketch]]]
"""Name and labels of a series, a Unix minute in which something is new since the last call, and what."""
Minutes = Callable[[int], Iterable[tuple[str, Labels, Extent | None]]]
"""Given a Unix minute: the name and labels of every gauge, and what it did then, if anything. See `Harvest`."""


class Harvest:
    """Takes what gauges did in minutes that are over from where that is known, some series at each tick.

    *minutes* is asked for the minute that has just ended, and again for the `AGAIN` ones before it; what is new in it
    since is taken. A window that begins to be forgotten is not taken again. When the clock jumps, the minute that was
    running is asked for as well.

    What *minutes* is to answer with: an iterable, best a generator, of triples. A name as in /metrics; labels as a
    tuple of (name, value) pairs, in one order for the series' life; and an `Extent`, or None for a series that saw
    nothing, which counts as a step. It is read step by step over many ticks, in which series come and go: begin with
    `list(...)` of a dictionary that changes.
    """

    AGAIN: Final = 4
    PER_TICK: Final = 256
    """Series looked at, so that many of them do not hold up one tick."""

    def __init__(self, minutes: Minutes) -> None:
        self._minutes = minutes
        self._taken: dict[int, dict[tuple[str, Labels], Range]] = {}
        self._running: Iterator[Minute | None] = iter(())
        self._latest: int | None = None

    def tick(self, now: float) -> list[Minute]:
        """What is to be written now; called at every tick. *now* is Unix seconds."""
        ended = int(now) // MINUTE - 1
        if ended != self._latest:
            interrupted = [] if self._latest is None else [self._latest + 1]
            self._latest = ended
            self._running = self._walk([*interrupted, *range(ended, ended - self.AGAIN - 1, -1)], ended)
        return [one for one in islice(self._running, self.PER_TICK) if one]

    def rest(self, now: float) -> list[Minute]:
        """Everything that has not been taken, the running minute included: at the end."""
        running = int(now) // MINUTE
        return [one for one in self._walk(range(running, running - self.AGAIN - 2, -1), running) if one]

    def unfinished(self, now: float, is_wanted: Callable[[str, Labels], bool]) -> list[Minute]:
        """What the wanted series have done in the running minute and the one before, beyond what was taken."""
        running = int(now) // MINUTE
        found = (
            self._new(name, labels, slot, window)
            for slot in (running - 1, running)
            for name, labels, window in self._minutes(slot)
            if is_wanted(name, labels)
        )
        return [one for one in found if one]

    def _walk(self, slots: Iterable[int], present: int) -> Iterator[Minute | None]:
        """For each window what is to be written of it, if anything."""
        for slot in dict.fromkeys(slots):
            for name, labels, window in self._minutes(slot):
                yield self._new(name, labels, slot, window)
        near = range(present - self.AGAIN - 1, present + self.AGAIN + 2)  # the clock may come back to these
        self._taken = {slot: taken for slot, taken in self._taken.items() if slot in near}

    def _new(self, name: str, labels: Labels, slot: int, window: Extent | None) -> Minute | None:
        """What is new in a window since it was taken; its ends are those of all of it."""
        if window is None:
            return None
        taken = self._taken.setdefault(slot, {})
        before = taken.get((name, labels))
        count, total = (before.count, before.sum) if before else (0, 0.0)
        if window.count <= count:
            return None
        taken[name, labels] = Range(window.count, window.sum, window.minimum, window.maximum)
        return Minute(
            name, labels, slot, Range(window.count - count, window.sum - total, window.minimum, window.maximum)
        )
