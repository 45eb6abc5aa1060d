"""What is too old goes, and what is too much: a few hundred rows at a time, so that nobody waits long.

The clock may jump. A horizon follows it by `MAX_STEP` each time, either way, and only what both find too old goes, or
too far ahead. So a clock that was a day ahead for a minute costs ten minutes of the oldest history, and one that was
years behind nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from math import ceil, inf
from typing import Final

from otel_latency.store.schema import PAGE_BYTES
from otel_latency.store.windows import PER_QUARTER, QUARTER, progress, set_progress

MAX_STEP: Final = 600
FUTURE: Final = 86_400
"""What lies further ahead than that comes from a wrong clock, and is too old as well."""
ROWS: Final = 500
"""Deleted at a time."""
_DETAIL: Final = ("operations", "turns")
_BY_TIME: Final = "SELECT id FROM {table} WHERE ended {beyond} ? ORDER BY ended LIMIT ?"
_BY_SLOT: Final = (
    "SELECT one.id FROM series CROSS JOIN {table} AS one ON one.series = series.id AND one.slot {beyond} ? LIMIT ?"
)
"""By the index of each series: what came late, or by a wrong clock, does not stand in the order of time."""
CROWDED: Final = 0.95
ROOMY: Final = 0.90
"""Shares of the room: above the first the oldest rows go until the second is reached."""


def expire(connection: sqlite3.Connection, now: float, detail: float, aggregate: float) -> Iterator[None]:
    """Delete what is older than *detail* or *aggregate* seconds; a short transaction at each step."""
    horizon = _follow(connection, int(now))
    early, late = min(horizon, int(now)), max(horizon, int(now)) + FUTURE
    yield
    for table in _DETAIL:
        yield from _expire(connection, table, _BY_TIME, early - detail, late)
    last = late // QUARTER
    first = (early - detail) // QUARTER * PER_QUARTER  # a quarter has all of its minutes, or none
    yield from _expire(connection, "minutes", _BY_SLOT, first, last * PER_QUARTER + PER_QUARTER - 1)
    yield from _expire(connection, "quarters", _BY_SLOT, (early - aggregate) // QUARTER, last)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM alerts WHERE started < ?", (early - aggregate,))
        connection.execute("DELETE FROM counters WHERE changed < ?", (early - aggregate,))
        connection.execute("DELETE FROM states WHERE saved < ?", (early - aggregate,))
    yield


def shrink(connection: sqlite3.Connection, room: int, dropped: Counter[str]) -> Iterator[None]:
    """Where the *room*, in bytes, is nearly full: delete what is oldest, and count it in *dropped* by table.

    Operations and turns go first, then minutes, then quarters: what takes most room and would have been kept the
    shortest. Of operations and turns those go that reach back further, so that both begin at one time: a turn that is
    found has its operations, and neither sort starves the other. States stay.
    """
    if used_bytes(connection) <= CROWDED * room:
        return
    while used_bytes(connection) > ROOMY * room and delete_oldest(connection, ROWS, dropped):
        yield


def give_back(connection: sqlite3.Connection, room: int) -> Iterator[None]:
    """Shorten a file that is longer than its *room*, since that was more once, by what is free in it."""
    while True:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if pages <= room // PAGE_BYTES or not free:
            return
        connection.execute(f"PRAGMA incremental_vacuum({ROWS})").fetchall()
        yield


def delete_oldest(connection: sqlite3.Connection, rows: int, dropped: Counter[str]) -> int:
    """Delete that many rows of the first table that has any; how many they were."""
    for table, order in (_longest(connection), ("minutes", "id"), ("quarters", "id"), ("alerts", "started")):
        count = connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY {order} LIMIT ?)",  # noqa: S608
            (rows,),
        ).rowcount
        if count:
            dropped[table] += count
            return count
    return 0


def make_room(connection: sqlite3.Connection, rows: int, dropped: Counter[str]) -> bool:
    """Delete at least so many of the oldest rows, in one transaction; whether there were any."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        return sum(delete_oldest(connection, ROWS, dropped) for _ in range(ceil(rows / ROWS))) > 0


def _longest(connection: sqlite3.Connection) -> tuple[str, str]:
    """Whichever of operations and turns reaches back further."""
    oldest = {}
    for table in _DETAIL:
        (ended,) = connection.execute(f"SELECT min(ended) FROM {table}").fetchone()  # noqa: S608
        oldest[table] = inf if ended is None else ended
    return min(_DETAIL, key=lambda table: oldest[table]), "ended"


def forget_series(connection: sqlite3.Connection) -> int:
    """Delete series of which no window is left; how many they were."""
    return connection.execute(
        "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM minutes WHERE series = series.id)"
        " AND NOT EXISTS (SELECT 1 FROM quarters WHERE series = series.id)"
    ).rowcount


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; what was deleted leaves room for what comes."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES


def _follow(connection: sqlite3.Connection, now: int) -> int:
    """The horizon, moved towards *now*."""
    before = progress(connection, "horizon") or now
    horizon = min(max(now, before - MAX_STEP), before + MAX_STEP)
    set_progress(connection, "horizon", horizon)
    return horizon


def _expire(connection: sqlite3.Connection, table: str, choice: str, oldest: float, latest: float) -> Iterator[None]:
    for beyond, limit in (("<", oldest), (">", latest)):
        chosen = choice.format(table=table, beyond=beyond)
        found = ROWS
        while found == ROWS:
            found = connection.execute(f"DELETE FROM {table} WHERE id IN ({chosen})", (limit, ROWS)).rowcount  # noqa: S608
            yield
