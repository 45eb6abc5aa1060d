"""Sessions as their turns tell of them: the figures of a session that is not over, by the same arithmetic.

A session that two services use is one of each. Asked about a time, it is made of the turns that ended in that time.

Cost: 0.5 us for each turn of that time, and 6 us for each turn of the sessions that are shown; one of them in memory at
a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from otel_latency.aggregate.sessions import Session, TurnOfSession, session_json
from otel_latency.store.operations import MAX_SHOWN
from otel_latency.store.shapes import JSONObject
from otel_latency.store.turns import CALLS

_FROM: Final = "FROM turns INDEXED BY turns_by_session CROSS JOIN profiles ON profiles.id = profile_id"
_TURNS: Final = (
    f"SELECT ended, duration, status, trace_id, span_id, {', '.join(CALLS)} {_FROM}"
    " WHERE session_id = ? AND service = ? AND ended >= ? AND ended < ? ORDER BY ended"
)


def sessions(
    connection: sqlite3.Connection,
    limit: int = 100,
    *,
    since: float = 0.0,
    until: float = inf,
    session: str = "",
    service: str = "",
) -> JSONObject:
    """`{"sessions": [...]}`: the latest first, by the last of their turns from *since* on and before *until*."""
    shown = []
    for number, of_service in _chosen(connection, limit, since, until, session, service):
        (name,) = connection.execute("SELECT session FROM sessions WHERE id = ?", (number,)).fetchone()
        turns = connection.execute(_TURNS, (number, of_service, since, until))
        shown.append(session_json(_session(name, of_service, map(_turn, turns))))
    return {"sessions": shown}


def _chosen(
    connection: sqlite3.Connection, limit: int, since: float, until: float, session: str, service: str
) -> list[tuple[int, str]]:
    """The id and the service of each session that is meant."""
    conditions, values = ["session_id IS NOT NULL", "ended >= ?", "ended < ?"], [since, until]
    told = {"session_id = (SELECT id FROM sessions WHERE session = ?)": session, "service = ?": service}
    wanted = {condition: text for condition, text in told.items() if text}
    query = (
        f"SELECT session_id, service {_FROM} WHERE {' AND '.join((*conditions, *wanted))}"
        " GROUP BY session_id, service ORDER BY max(ended) DESC LIMIT ?"
    )
    return connection.execute(query, (*values, *wanted.values(), min(limit, MAX_SHOWN))).fetchall()


def _session(name: str, service: str, turns: Iterator[TurnOfSession]) -> Session:
    first = next(turns)
    session = Session(name, service, first.start_ns, first.end_ns)
    session.add(first)
    for turn in turns:
        session.add(turn)
    return session


def _turn(row: tuple[Any, ...]) -> TurnOfSession:
    ended, duration, status, trace_id, span_id, *calls = row
    end_ns = round(ended * 1e9)
    return TurnOfSession(trace_id, span_id, end_ns - round(duration * 1e9), end_ns, status, *calls)
