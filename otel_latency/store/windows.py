"""Windows of series: a sketch for each minute, merged to one for each quarter of an hour.

A minute has a row for each run of the agent that saw part of it; writing it again in the same run replaces that row, so
what came late is added by writing the whole minute anew. Quarters are merged from minutes and never averaged, once no
minute of theirs will change.

Cost: 25 us a minute of a series to write, the same again to merge it. Size: some 120 bytes a minute of 60 values, 220
a quarter of 900.
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
"""Seconds after its end within which a minute may be written again; then its quarter is merged."""
SERIES_PER_STEP: Final = 50
MAX_CACHED: Final = 8192
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
    """One window of one series, to be kept; `slot` is its Unix minute. Nobody changes `window` any more."""

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
        elif isinstance(whole, Sketch) and isinstance(window, Sketch):  # noqa: SIM114 - apart for the type checker
            whole.merge(window)
        elif isinstance(whole, Range) and isinstance(window, Range):
            whole.merge(window)
    return whole


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
    """Write *minutes*, each in place of what this *run* wrote of it before; quarters that they change merge again."""
    minutes = list(minutes)
    first = min((one.slot for one in minutes), default=None)
    if first is not None and first // PER_QUARTER < compacted(transaction):
        set_progress(transaction, "compacted", first // PER_QUARTER)
    transaction.executemany(
        "INSERT INTO minutes (slot, series, run, data) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (series, slot, run) DO UPDATE SET data = excluded.data",
        [(one.slot, ids.find(transaction, one.name, one.labels), run, one.window.to_bytes()) for one in minutes],
    )


def compact(connection: sqlite3.Connection, now: float) -> Iterator[None]:
    """Merge the minutes of each quarter that is over and settled; a short transaction at each step.

    Interrupted at any point it does the quarter again, with the same result.
    """
    settled = int(now - LATE) // QUARTER
    while True:
        quarter = _next_quarter(connection, settled)
        if quarter is None:
            return
        yield from _merge_quarter(connection, quarter)
        with connection:
            set_progress(connection, "compacted", quarter + 1)
        yield


def compacted(connection: sqlite3.Connection) -> int:
    """The first quarter that has not been merged."""
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
    last = 0
    while True:
        chosen = connection.execute(
            "SELECT id FROM series WHERE id > ? ORDER BY id LIMIT ?", (last, SERIES_PER_STEP)
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
            "INSERT INTO quarters (slot, series, data) VALUES (?, ?, ?)"
            " ON CONFLICT (series, slot) DO UPDATE SET data = excluded.data",
            (quarter, series, whole.to_bytes()),
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


Seen = Sketch | Extent | None
Changed = Callable[[], Iterable[tuple[str, Labels, int, Sketch]]]
"""Name and labels of a series, a Unix minute that has changed since the last call, and what the series saw in it."""
Minutes = Callable[[int], Iterable[tuple[str, Labels, Seen]]]
"""Given a Unix minute: the name and labels of every series, and what it saw then, if anything. See `Harvest`."""


class Harvest:
    """Takes the minutes that are over from where they are made, some series at each tick.

    *minutes* is asked for the minute that has just ended, and again for the `AGAIN` ones before it, since spans come
    late; a window that has not grown since, or that begins to be forgotten, is not taken twice.

    What *minutes* is to answer with: an iterable, best a generator, of triples. A name as in /metrics; labels as a
    tuple of (name, value) pairs, in one order for the series' life; and a `Sketch` of a latency, an `Extent` of a
    gauge, or None for a series that saw nothing, which counts as a step. So chains of several sources do:

        minutes=lambda slot: chain(aggregator.minutes(slot), samples.minutes(slot))

    It is read step by step over many ticks, in which series come and go: begin with `list(...)` of a dictionary that
    changes. What is taken is copied, so it may be what goes on growing.
    """

    AGAIN: Final = 4
    PER_TICK: Final = 256
    """Series looked at, so that many of them do not hold up one tick."""

    def __init__(self, minutes: Minutes) -> None:
        self._minutes = minutes
        self._counts: dict[int, dict[tuple[str, Labels], int]] = {}
        self._running: Iterator[Minute | None] = iter(())
        self._latest = 0

    def tick(self, now: float) -> list[Minute]:
        """What is to be written now; called at every tick. *now* is Unix seconds."""
        ended = int(now) // MINUTE - 1
        if ended != self._latest:
            self._latest = ended
            self._running = self._walk(range(ended, ended - self.AGAIN - 1, -1))
        return [one for one in islice(self._running, self.PER_TICK) if one]

    def rest(self, now: float) -> list[Minute]:
        """Everything that has not been taken, the running minute included: at the end."""
        running = int(now) // MINUTE
        return [one for one in self._walk(range(running, running - self.AGAIN - 2, -1)) if one]

    def unfinished(self, now: float, is_wanted: Callable[[str, Labels], bool]) -> list[Minute]:
        """What the wanted series have seen in the running minute and the one before, beyond what was taken."""
        found = []
        for slot in (int(now) // MINUTE - 1, int(now) // MINUTE):
            counts = self._counts.setdefault(slot, {})
            for name, labels, window in self._minutes(slot):
                if window is None or window.count <= counts.get((name, labels), 0) or not is_wanted(name, labels):
                    continue
                counts[name, labels] = window.count
                found.append(Minute(name, labels, slot, _copied(window)))
        return found

    def _walk(self, slots: range) -> Iterator[Minute | None]:
        """For each window what is to be written of it, if anything."""
        self._counts = {slot: self._counts.get(slot, {}) for slot in slots}
        for slot in slots:
            counts = self._counts.get(slot, {})
            for name, labels, window in self._minutes(slot):
                if window is None or window.count <= counts.get((name, labels), 0):
                    yield None
                else:
                    counts[name, labels] = window.count
                    yield Minute(name, labels, slot, _copied(window))


def _copied(window: Sketch | Extent) -> Window:
    if isinstance(window, Sketch):
        return window.copy()
    return Range(window.count, window.sum, window.minimum, window.maximum)
