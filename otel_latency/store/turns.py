"""Every finished turn as a whole, a row each: its stages and milestones to the nanosecond, found by its ids.

What is kept is the turn and not a document of it: whoever asks has the document made then, and nobody pays for the
many that are never looked at. A turn that is written again, since spans came late, takes the place of the first.

Beside it stands what sessions are made of, so that they are told without unpacking their turns.

Cost: 40 us a turn to write; 30 us to read. Size: about 540 bytes for a voice turn of five stages, of which 320 are the
turn, 40 what sessions need, and the rest its ids and its places in the indexes; 50 more for a request id that is not
the trace id.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import inf
from operator import attrgetter
from typing import Any, Final, NamedTuple

from otel_latency.aggregate.sessions import TurnOfSession
from otel_latency.aggregate.turn import Turn
from otel_latency.store.names import Key, Names
from otel_latency.store.operations import MAX_SHOWN, when
from otel_latency.store.packing import Known, pack, unpack

CALLS: Final = (
    *("llm_calls", "llm_seconds", "prompt_tokens", "input_tokens", "output_tokens", "cost_usd"),
    *("first_token", "first_audio"),
)
"""Columns that sessions are made of: fields of `TurnOfSession`."""
_KEY: Final = ("trace_id", "span_id")
_REST: Final = ("ended", "duration", "profile_id", "session_id", "request_id", *CALLS, "data")
_INSERT: Final = (
    f"INSERT INTO turns ({', '.join((*_KEY, *_REST))})"  # noqa: S608 - from our lists
    f" VALUES ({', '.join('?' * len((*_KEY, *_REST)))})"
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _REST)}"
)
_calls_of: Final = attrgetter(*CALLS)
_SELECT: Final = "SELECT ended, trace_id, span_id, service, turn, status, session, request_id, data FROM turns"
_JOIN: Final = "CROSS JOIN profiles ON profiles.id = profile_id LEFT JOIN sessions ON sessions.id = session_id"
_TRIED: Final = 10
"""Rows looked at for one that can be read."""
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")
_TRACE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")


class Kept(NamedTuple):
    """A turn, and its end as far as that can be believed, in Unix seconds: with a clock ahead it ended when written."""

    ended: float
    turn: Turn


def insert(transaction: sqlite3.Connection, names: Names, turns: Iterable[Turn], now: float) -> None:
    """Write *turns*; *now* is Unix seconds."""
    rows = [
        (
            *(turn.trace_id, turn.span_id),
            *(when(turn.end_ns, now), turn.duration),
            names.profile(transaction, _profile(turn), now),
            names.session(transaction, turn.session, now),
            _asked_by(turn),
            *_calls_of(TurnOfSession.of(turn)),
            pack(turn),
        )
        for turn in turns
    ]
    transaction.executemany(_INSERT, rows)


def newest(
    connection: sqlite3.Connection,
    limit: int = 100,
    *,
    since: float = 0.0,
    until: float = inf,
    session: str = "",
    service: str = "",
    status: str = "",
    slower_than: float = 0.0,
) -> Iterator[Kept]:
    """The newest turns first, by their ends: from *since* on and before *until*, none as short as *slower_than*."""
    told = {"session": session, "service": service, "status": status}
    wanted = {name: text for name, text in told.items() if text}
    conditions = ["ended >= ?", "ended < ?", *(f"{name} = ?" for name in wanted)]
    values: list[object] = [since, until, *wanted.values()]
    if slower_than > 0:
        conditions.append("duration > ?")
        values.append(slower_than)
    query = f"{_SELECT} INDEXED BY turns_by_time {_JOIN} WHERE {' AND '.join(conditions)} ORDER BY ended DESC LIMIT ?"
    return _turns(connection.execute(query, (*values, min(limit, MAX_SHOWN))))


def find(connection: sqlite3.Connection, identity: str, span_id: str = "") -> Turn | None:
    """The newest turn with *identity* as its trace id, in hex, or else as its request id; of one span if that is given.

    Raises ValueError for a span id that is not in hex.
    """
    ways = [("turns_by_request", "request_id", _short(identity))]
    if _TRACE_ID.fullmatch(identity):
        ways.insert(0, ("turns_by_span", "trace_id", bytes.fromhex(identity)))
    span = bytes.fromhex(span_id)
    for index, column, value in ways:
        condition = f"{column} = ? AND (? = x'' OR span_id = ?)"
        query = f"{_SELECT} INDEXED BY {index} {_JOIN} WHERE {condition} ORDER BY ended DESC LIMIT {_TRIED}"
        for found in _turns(connection.execute(query, (value, span, span))):
            return found.turn
    return None


def _turns(rows: Iterable[tuple[Any, ...]]) -> Iterator[Kept]:
    """Those of *rows* that can be read."""
    for ended, trace_id, span_id, service, turn, status, session, request_id, data in rows:
        with suppress(ValueError):
            known = Known(trace_id, span_id, service, turn, status, session or "", _long(request_id))
            yield Kept(ended, unpack(data, known))


def _profile(turn: Turn) -> Key:
    return turn.service, turn.turn, "", False, "", "", "", "", turn.status, ""


def _asked_by(turn: Turn) -> bytes | str | None:
    """The request id, where it is not the trace id."""
    return None if turn.request_id == turn.trace_id.hex() else _short(turn.request_id)


def _short(request_id: str) -> bytes | str | None:
    """Digits in hex, as most are, as their bytes."""
    return bytes.fromhex(request_id) if _HEX.fullmatch(request_id) else request_id or None


def _long(request_id: bytes | str | None) -> str:
    return request_id.hex() if isinstance(request_id, bytes) else request_id or ""
