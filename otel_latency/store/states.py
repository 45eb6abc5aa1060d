"""Small states by name, such as what a predictor has learnt, kept over restarts: the last one of each.

A state is deflated and written in parts, each in a transaction of its own, so that none outgrows the journal. It holds
when its last part is there; until then, and where a part was lost, the one before does, if it is whole.
"""

from __future__ import annotations

import sqlite3
import zlib
from itertools import groupby
from typing import Final

MAX_BYTES: Final = 8 << 20
PART_BYTES: Final = 1 << 20


def write(connection: sqlite3.Connection, name: str, state: bytes, now: float) -> None:
    """Keep *state* under its *name*, in place of the one before."""
    data = zlib.compress(state, zlib.Z_BEST_SPEED)
    parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    (last,) = connection.execute("SELECT max(saved) FROM states WHERE name = ?", (name,)).fetchone()
    saved = now if last is None else max(now, last + 1.0)  # the clock may have gone back
    query = "INSERT INTO states (name, saved, part, parts, data) VALUES (?, ?, ?, ?, ?)"
    for number, part in enumerate(parts):
        connection.execute(query, (name, saved, number, len(parts), part))
    connection.execute("DELETE FROM states WHERE name = ? AND saved != ?", (name, saved))


def read(connection: sqlite3.Connection, name: str) -> bytes | None:
    """The last state of that *name* that is whole; None where there is none."""
    query = "SELECT saved, parts, data FROM states WHERE name = ? ORDER BY saved DESC, part"
    for _, rows in groupby(connection.execute(query, (name,)), lambda row: row[0]):
        found = list(rows)
        if len(found) == found[0][1]:
            try:
                return zlib.decompress(b"".join(data for _, _, data in found))
            except zlib.error:
                continue
    return None
