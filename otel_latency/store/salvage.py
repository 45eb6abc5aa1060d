"""What can still be read of a damaged file, copied row by row into a sound one.

A table is read in the order of its ids, which are kept, so the new file must be empty. Where a page cannot be read, ids
are skipped in growing steps until rows come again, and those that the last step went over are read from there back. So
one damaged page costs its own rows; between two that lie close together some readable ones may be lost with them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 10.0
"""What is not saved by then is left in the damaged file."""
_BATCH: Final = 500
_END: Final = 2**62
Row = tuple[Any, ...]


def salvage(
    damaged: Path, into: sqlite3.Connection, tables: Sequence[str], clock: Callable[[], float] = time.monotonic
) -> int:
    """Copy the *tables*, whose first column is `id`, in this order; how many rows were saved."""
    saved, until = 0, clock() + SECONDS
    with closing(sqlite3.connect(damaged)) as source:
        source.text_factory = _text
        for table in tables:
            rows = _rows(source, table)
            while (batch := list(islice(rows, _BATCH))) and clock() < until:
                saved += _write(into, table, batch)
    return saved


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _rows(source: sqlite3.Connection, table: str) -> Iterator[Row]:
    """Some may come twice: an id or a pointer that is damaged can lead back, but each turn begins behind the last."""
    last, skipped, step = -1, -1, 1
    while skipped < _END:
        begin = newest = highest = skipped
        for row in _until_damage(source, table, "ASC", skipped, _END):
            if skipped > last:
                yield from _until_damage(source, table, "DESC", last, skipped + 1)
                last = skipped
            newest, highest, step = row[0], max(highest, row[0]), 1
            yield row
        if highest > begin:
            last = skipped = newest if newest > begin else highest
        skipped, step = skipped + step, step * 2
    yield from _until_damage(source, table, "DESC", last, _END)


def _until_damage(source: sqlite3.Connection, table: str, order: str, low: int, high: int) -> Iterator[Row]:
    """The rows with ids between *low* and *high*, in this order."""
    query = f"SELECT * FROM {table} NOT INDEXED WHERE id > ? AND id < ? ORDER BY id {order}"  # noqa: S608
    try:
        for row in source.execute(query, (low, high)):
            low, high = (row[0], high) if order == "ASC" else (low, row[0])
            yield row
    except sqlite3.DatabaseError:
        # A cursor of Python's reads one row ahead, and loses the one before the damage: that is asked for alone.
        with suppress(sqlite3.DatabaseError):
            yield from source.execute(f"{query} LIMIT 1", (low, high))


def _write(into: sqlite3.Connection, table: str, rows: Sequence[Row]) -> int:
    """How many of *rows* the new file took: not those that break its rules, nor those of an older version's table."""
    before = into.total_changes
    if len(rows[0]) != len(into.execute(f"SELECT * FROM {table} LIMIT 0").description):  # noqa: S608
        return 0
    places = ", ".join("?" * len(rows[0]))
    with into:
        into.execute("BEGIN IMMEDIATE")
        into.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", rows)  # noqa: S608 - a table of ours
    return into.total_changes - before
