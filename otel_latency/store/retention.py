"""What is too old goes, and what is too much: a few hundred rows at a time, so that nobody waits long.

The clock may jump. What is too old is told from a horizon that follows it by `MAX_ADVANCE` each time, so a clock that
was a day ahead for a minute costs ten minutes of the oldest history.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from math import ceil, inf
from typing import Final

from otel_latency.store.schema import PAGE_BYTES
from otel_latency.store.windows import MINUTE, QUARTER, progress, set_progress

MAX_ADVANCE: Final = 600
FUTURE: Final = 86_400
"""What lies further ahead than that comes from a wrong clock, and is too old as well."""
ROWS: Final = 500
"""Deleted at a time."""
_DETAIL: Final = ("operations", "turns")
CROWDED: Final = 0.95
ROOMY: Final = 0.90
"""Shares of the room: above the first the oldest rows go until the second is reached."""


def expire(connection: sqlite3.Connection, now: float, detail: float, aggregate: float) -> Iterator[None]:
    """Delete what is older than *detail* or *aggregate* seconds; a short transaction at each step."""
    horizon = _advance(connection, now)
    yield
    for table in _DETAIL:
        yield from _expire_detail(connection, table, horizon - detail, horizon + FUTURE)
    yield from _expire_windows(connection, "minutes", (horizon - detail) // MINUTE, (horizon + FUTURE) // MINUTE)
    yield from _expire_windows(connection, "quarters", (horizon - aggregate) // QUARTER, (horizon + FUTURE) // QUARTER)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM alerts WHERE started < ?", (horizon - aggregate,))
        connection.execute("DELETE FROM counters WHERE changed < ?", (horizon - aggregate,))
        connection.execute("DELETE FROM states WHERE saved < ?", (horizon - aggregate,))
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


def _advance(connection: sqlite3.Connection, now: float) -> int:
    before = progress(connection, "horizon")
    horizon = min(int(now), before + MAX_ADVANCE) if before else int(now)
    set_progress(connection, "horizon", horizon)
    return horizon


def _expire_detail(connection: sqlite3.Connection, table: str, oldest: float, latest: float) -> Iterator[None]:
    for condition, limit in (("ended < ?", oldest), ("ended > ?", latest)):
        found = ROWS
        while found == ROWS:
            chosen = f"SELECT id FROM {table} WHERE {condition} ORDER BY ended LIMIT ?"  # noqa: S608
            found = connection.execute(f"DELETE FROM {table} WHERE id IN ({chosen})", (limit, ROWS)).rowcount  # noqa: S608
            yield


def _expire_windows(connection: sqlite3.Connection, table: str, oldest: float, latest: float) -> Iterator[None]:
    """They were written in the order of time: those to go stand first."""
    while True:
        rows = connection.execute(f"SELECT id, slot FROM {table} ORDER BY id LIMIT ?", (ROWS,)).fetchall()  # noqa: S608
        kept = next((place for place, (_, slot) in enumerate(rows) if oldest <= slot <= latest), len(rows))
        if kept:
            connection.execute(f"DELETE FROM {table} WHERE id <= ?", (rows[kept - 1][0],))  # noqa: S608
            yield
        if kept < ROWS:
            return
