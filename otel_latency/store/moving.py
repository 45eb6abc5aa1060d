"""What a history in memory holds is moved to the one on disk, all of it or nothing, when there is a disk again.

Ids differ between the two, so series, profiles and sessions are found again by what they stand for. Minutes count for
the run that the file is about to begin. A quarter that has been merged in one of the two gets what the other has of it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from otel_latency.store.names import PROFILE
from otel_latency.store.turns import CALLS
from otel_latency.store.windows import PER_QUARTER

_PROFILE: Final = ", ".join(PROFILE)
_SERIES: Final = "JOIN main.series AS s ON s.id = w.series JOIN disk.series AS d USING (name, labels)"
_ADDED: Final = "ON CONFLICT (series, slot) DO UPDATE SET data = added(data, excluded.data)"
_NAMES: Final = (
    f"JOIN main.profiles AS p ON p.id = profile_id JOIN disk.profiles AS q USING ({_PROFILE})"
    " LEFT JOIN main.sessions AS s ON s.id = session_id LEFT JOIN disk.sessions AS t ON t.session = s.session"
)
_MEASURES: Final = "first_token, first_audio, input_tokens, output_tokens, retries, cost_usd, trace_id, span_id"
_CALLS: Final = ", ".join(CALLS)
_STATEMENTS: Final = f"""
INSERT OR IGNORE INTO disk.series (name, labels) SELECT name, labels FROM main.series;
INSERT INTO disk.quarters (slot, series, data)
    SELECT w.slot, d.id, m.data FROM main.quarters AS w {_SERIES}
        JOIN disk.minutes AS m ON m.series = d.id AND m.slot / {PER_QUARTER} = w.slot
    WHERE NOT EXISTS (SELECT 1 FROM disk.quarters WHERE series = d.id AND slot = w.slot)
    {_ADDED};
INSERT INTO disk.quarters (slot, series, data)
    SELECT slot, d.id, data FROM main.quarters AS w {_SERIES} WHERE true ORDER BY w.id
    {_ADDED};
INSERT INTO disk.quarters (slot, series, data)
    SELECT w.slot / {PER_QUARTER}, d.id, w.data FROM main.minutes AS w {_SERIES}
    WHERE EXISTS (SELECT 1 FROM disk.quarters WHERE series = d.id AND slot = w.slot / {PER_QUARTER})
        AND NOT EXISTS (SELECT 1 FROM main.quarters WHERE series = w.series AND slot = w.slot / {PER_QUARTER})
    {_ADDED};
INSERT INTO disk.minutes (slot, series, run, data)
    SELECT slot, d.id, (SELECT coalesce(max(value), 0) + 1 FROM disk.progress WHERE name = 'run'), data
    FROM main.minutes AS w {_SERIES} ORDER BY w.id;
UPDATE disk.progress SET value = min(value, (SELECT min(slot) / {PER_QUARTER} FROM main.minutes))
    WHERE name = 'compacted' AND EXISTS (SELECT 1 FROM main.minutes);
INSERT OR REPLACE INTO disk.progress (name, value) SELECT name, value FROM main.progress WHERE name = 'log';
INSERT OR REPLACE INTO disk.alerts (started, resolved, value, labels, annotations)
    SELECT started, resolved, value, labels, annotations FROM main.alerts ORDER BY id;
INSERT OR REPLACE INTO disk.counters (name, labels, value, changed)
    SELECT name, labels, value, changed FROM main.counters;
INSERT OR REPLACE INTO disk.states (name, saved, part, parts, data)
    SELECT name, saved, part, parts, data FROM main.states;
INSERT INTO disk.profiles ({_PROFILE}, seen) SELECT {_PROFILE}, seen FROM main.profiles
    WHERE true ON CONFLICT ({_PROFILE}) DO UPDATE SET seen = max(seen, excluded.seen);
INSERT INTO disk.sessions (session, seen) SELECT session, seen FROM main.sessions
    WHERE true ON CONFLICT (session) DO UPDATE SET seen = max(seen, excluded.seen);
INSERT OR REPLACE INTO disk.turns (
        ended, duration, profile_id, session_id, request_id, trace_id, span_id, {_CALLS}, data
    ) SELECT ended, duration, q.id, t.id, request_id, trace_id, span_id, {_CALLS}, data
    FROM main.turns AS o {_NAMES} ORDER BY o.id;
INSERT INTO disk.operations (ended, duration, profile_id, session_id, {_MEASURES})
    SELECT ended, duration, q.id, t.id, {_MEASURES}
    FROM main.operations AS o {_NAMES} ORDER BY o.id
"""  # noqa: S608 - all of it is made of our own words


def move(memory: sqlite3.Connection, path: Path) -> None:
    """Add all that is in *memory* to the history at *path*, which is up to date and nobody's. Raises sqlite3.Error."""
    memory.execute("ATTACH ? AS disk", (str(path),))
    try:
        with memory:
            memory.execute("BEGIN IMMEDIATE")
            for statement in _STATEMENTS.split(";"):
                memory.execute(statement)
    finally:
        memory.execute("DETACH disk")
