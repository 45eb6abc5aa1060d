"""What many rows share, written once and meant by an id: the profiles of operations and turns, and their sessions.

Each has the time when it was last met, to the hour, so that what no row can mean any more is found without looking at
the rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

PROFILE: Final = (
    *("service", "turn", "stage", "is_llm", "operation", "provider", "model", "task", "status", "error_type"),
)
MAX_CACHED: Final = 8192
NOTED_EVERY: Final = 3600
Key = tuple[str | bool, ...]


class Names:
    """Ids of profiles and sessions, remembered while there are not too many."""

    def __init__(self) -> None:
        self._profiles = _Ids("profiles", PROFILE)
        self._sessions = _Ids("sessions", ("session",))

    def profile(self, transaction: sqlite3.Connection, profile: Key, now: float) -> int:
        """The id of a profile, given the columns `PROFILE`."""
        return self._profiles.find(transaction, profile, now)

    def session(self, transaction: sqlite3.Connection, session: object, now: float) -> int | None:
        """The id of a session; None for none."""
        if not session or not isinstance(session, str):
            return None
        return self._sessions.find(transaction, (session,), now)

    def forget(self) -> None:
        """Look them up again: some may have gone, or never have been written."""
        self._profiles.known.clear()
        self._sessions.known.clear()


class _Ids:
    """Ids by what they stand for, with the time that is noted there."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        self.known: dict[Key, tuple[int, float]] = {}
        places = ", ".join("?" * (len(columns) + 1))
        self._insert = (
            f"INSERT INTO {table} ({', '.join(columns)}, seen) VALUES ({places})"  # noqa: S608 - names of ours
            f" ON CONFLICT ({', '.join(columns)}) DO UPDATE SET seen = max(seen, excluded.seen) RETURNING id"
        )

    def find(self, transaction: sqlite3.Connection, key: Key, now: float) -> int:
        """The id of *key*, a new one where it has none."""
        found = self.known.get(key)
        if found is None or now - found[1] >= NOTED_EVERY:
            if len(self.known) >= MAX_CACHED:
                self.known.clear()
            (number,) = transaction.execute(self._insert, (*key, int(now))).fetchone()
            found = self.known[key] = (int(number), now)
        return found[0]


def forget_unused(connection: sqlite3.Connection) -> int:
    """Delete profiles and sessions that were last met before the oldest row that may mean them; how many they were."""
    oldest = (
        "SELECT min(ended) FROM (SELECT min(ended) AS ended FROM operations UNION ALL SELECT min(ended) FROM turns)"
    )
    (ended,) = connection.execute(oldest).fetchone()
    before = 2**62 if ended is None else ended - 2 * NOTED_EVERY
    return sum(
        connection.execute(f"DELETE FROM {table} WHERE seen < ?", (before,)).rowcount  # noqa: S608
        for table in ("profiles", "sessions")
    )
