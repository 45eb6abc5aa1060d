"""What can still be read of a damaged file, copied row by row into a sound one.

A table is read in the order of its ids, which are kept, so the new file must be empty. Where a page cannot be read, ids
are skipped in growing steps until rows come again: some readable rows beside a damaged page are lost with it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

SECONDS: Final = 10.0
"""What is not saved by then is left in the damaged file."""
_BATCH: Final = 500
_LAST: Final = 2**62


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


def _rows(source: sqlite3.Connection, table: str) -> Iterator[tuple[object, ...]]:
    at, step = -1, 1
    while at < _LAST:
        try:
            for row in source.execute(f"SELECT * FROM {table} NOT INDEXED WHERE id > ? ORDER BY id", (at,)):  # noqa: S608
                at, step = row[0], 1
                yield row
        except sqlite3.DatabaseError as error:
            if "no such" in str(error):
                return
            at, step = at + step, step * 2
        else:
            return


def _write(into: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> int:
    """How many of *rows* the new file took: not those that break its rules, nor those of an older version's table."""
    before = into.total_changes
    if len(rows[0]) != len(into.execute(f"SELECT * FROM {table} LIMIT 0").description):  # noqa: S608
        return 0
    places = ", ".join("?" * len(rows[0]))
    with into:
        into.execute("BEGIN IMMEDIATE")
        into.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({places})", rows)  # noqa: S608 - a table of ours
    return into.total_changes - before
