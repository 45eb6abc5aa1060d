"""Every finished operation: a turn, a stage or a call of a model, a row each.

The session of an operation that names none is that of its trace's turn, once the turn is written.

Cost: 1.5 us a span for its row, 4 us to write it; about 90 bytes with its place in the index.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any, Final, NamedTuple

from otel_latency.records import LLMProfile, Profile, SpanRow
from otel_latency.sketch import Sketch
from otel_latency.store.names import PROFILE, Key, Names
from otel_latency.store.shapes import JSONObject, distribution

_OWN: Final = (
    *("ended", "duration", "profile_id", "session_id", "first_token", "first_audio"),
    *("input_tokens", "output_tokens", "retries", "cost_usd", "trace_id", "span_id"),
)
COLUMNS: Final = (
    *("ended", "duration", *PROFILE, "first_token", "first_audio"),
    *("input_tokens", "output_tokens", "retries", "cost_usd", "session", "trace_id", "span_id"),
)
TEXTS: Final = ("service", "turn", "stage", "operation", "provider", "model", "task", "status", "error_type", "session")
"""What operations can be looked for by, and summed up by."""
MAX_ROWS: Final = 200_000
"""The most rows that one summary looks at: the newest."""
MAX_SHOWN: Final = 10_000
CLOCKS_DIFFER: Final = 5.0
"""Seconds that an end may lie ahead of now; one that lies beyond is taken for now."""
_NO_LLM: Final = LLMProfile()
_PLACES: Final = ", ".join("?" * len(_OWN))
_INSERT: Final = f"INSERT INTO operations ({', '.join(_OWN)}) VALUES ({_PLACES})"  # noqa: S608 - from our list
_OF_TURN: Final = (
    "SELECT turns.session_id FROM turns INDEXED BY turns_by_span"
    " WHERE turns.trace_id = operations.trace_id AND turns.session_id IS NOT NULL LIMIT 1"
)
_FROM: Final = (
    "operations INDEXED BY operations_by_time CROSS JOIN profiles ON profiles.id = profile_id"
    f" LEFT JOIN sessions ON sessions.id = coalesce(operations.session_id, ({_OF_TURN}))"
)
"""In the order of time, each with what its ids stand for. Steps of a turn seldom name the session: theirs is its."""

Row = tuple[Any, ...]


def insert(transaction: sqlite3.Connection, names: Names, spans: Iterable[SpanRow], now: float) -> None:
    """Write the rows of *spans* that stand for work; *now* is Unix seconds."""
    transaction.executemany(_INSERT, list(_rows(transaction, names, spans, now)))


def _rows(transaction: sqlite3.Connection, names: Names, spans: Iterable[SpanRow], now: float) -> Iterator[Row]:
    for profile, trace_id, span_id, _, start_ns, end_ns, measures in spans:
        if not (profile.stage or profile.turn):
            continue
        known = (measures or {}).get
        duration = known("duration")
        if not isinstance(duration, float):
            duration = max((end_ns - start_ns) / 1e9, 0.0) if start_ns and end_ns else 0.0
        yield (
            *(when(end_ns, now), duration),
            names.profile(transaction, _profile(profile), now),
            names.session(transaction, known("session"), now),
            *(known("ttft"), known("ttfa"), known("input_tokens"), known("output_tokens")),
            *(known("retries"), known("cost_usd"), trace_id, span_id),
        )


def when(end_ns: int, now: float) -> float:
    """The Unix seconds of an end; none, or one that lies too far ahead, is taken for now."""
    ended = end_ns / 1e9
    return ended if 0 < ended <= now + CLOCKS_DIFFER else now


def _profile(profile: Profile) -> Key:
    """The columns `PROFILE`."""
    llm = profile.llm or _NO_LLM
    return (
        *(profile.service, profile.turn, profile.stage, profile.llm is not None),
        *(llm.operation, llm.provider, llm.model, llm.task, profile.status, llm.error_type),
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """Which operations: `texts` are columns and what they hold, times are Unix seconds of their ends.

    `kind` is turn, stage or llm, or empty for all. Raises ValueError for what no operation has.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    since: float = 0.0
    until: float = 1e11
    trace_id: str = ""

    def __post_init__(self) -> None:
        for name in self.texts:
            if name not in TEXTS:
                raise ValueError(f"{name!r} is nothing operations have: choose {', '.join(TEXTS)}")
        if self.kind not in _KINDS:
            raise ValueError(f"{self.kind!r} is no kind of operation: choose turn, stage or llm")

    def where(self) -> tuple[str, list[object]]:
        """The condition and its values."""
        conditions = ["ended >= ?", "ended < ?", _KINDS[self.kind], *(f"{name} = ?" for name in self.texts)]
        values: list[object] = [self.since, self.until, *self.texts.values()]
        if self.trace_id:
            conditions.append("trace_id = ?")
            values.append(bytes.fromhex(self.trace_id))
        return " AND ".join(conditions), values


_KINDS: Final = {"": "1", "turn": "turn != ''", "stage": "stage != ''", "llm": "is_llm"}


def operations(connection: sqlite3.Connection, which: Filter, limit: int = 100) -> JSONObject:
    """The newest operations first: `{"operations": [...]}`. What is not known is None, ids are hex."""
    shown = []
    for row in _newest(connection, COLUMNS, which, min(limit, MAX_SHOWN)):
        one = dict(zip(COLUMNS, row, strict=True))
        ended, duration = one.pop("ended"), one.pop("duration")
        one |= {"start": ended - duration, "duration_seconds": duration, "is_llm": bool(one["is_llm"])}
        one |= {key: one[key].hex() for key in ("trace_id", "span_id")}
        shown.append(one)
    return {"operations": shown}


def summary(connection: sqlite3.Connection, which: Filter, by: Sequence[str] = ("provider", "task")) -> JSONObject:
    """What operations alike in the columns *by* took and how they fared, most frequent first (LM9).

    `from` is the end of the oldest operation that was looked at: of very many only the newest `MAX_ROWS` are. `errors`
    counts those that did not end well by their error type, or where none was told by their status. `cost_usd` is the
    sum of what is known, that of `priced` operations, and None where there are none.
    """
    groups, oldest = _groups(connection, which, by)
    shown = [
        {**dict(zip(by, key, strict=True)), **group.shown()}
        for key, group in sorted(groups.items(), key=lambda pair: (-len(pair[1].durations), pair[0]))
    ]
    return {"from": oldest, "summary": shown}


class Durations(NamedTuple):
    """Durations in seconds by group, the newest first, and from when on (Unix seconds) none of them is missing."""

    groups: dict[tuple[str, ...], array[float]]
    complete_from: float


def durations(
    connection: sqlite3.Connection, which: Filter, by: Sequence[str] = ("provider", "model"), limit: int = 5000
) -> Durations:
    """The newest successful durations of each group, at most *limit*: what comparisons begin with (LM10)."""
    _check_columns(by)
    found: defaultdict[tuple[str, ...], array[float]] = defaultdict(lambda: array("d"))
    complete_from, count, ended = which.since, 0, which.until
    for ended, duration, status, *key in _newest(connection, ("ended", "duration", "status", *by), which, MAX_ROWS):
        count += 1
        values = found[_key(key)]
        if status == "ok" and len(values) < limit:
            values.append(duration)
        elif status == "ok":
            complete_from = max(complete_from, nextafter(ended, inf))
    if count == MAX_ROWS:
        complete_from = max(complete_from, nextafter(ended, inf))
    return Durations(dict(found), complete_from)


def oldest(connection: sqlite3.Connection) -> float:
    """When the first of all operations ended, in Unix seconds; 0 where there are none."""
    (ended,) = connection.execute("SELECT min(ended) FROM operations").fetchone()
    return float(ended or 0.0)


class _Group:
    """Operations alike."""

    def __init__(self) -> None:
        self.durations = array("d")
        self.first_tokens = array("d")
        self.succeeded = 0
        self.retries = 0.0
        self.input_tokens = 0.0
        self.output_tokens = 0.0
        self.errors: Counter[str] = Counter()
        self.priced = 0
        self.cost = 0.0

    def shown(self) -> JSONObject:
        count = len(self.durations)
        return {
            **distribution(Sketch(self.durations)),
            "success_ratio": self.succeeded / count,
            "mean_retries": self.retries / count,
            "first_token": distribution(Sketch(self.first_tokens)),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "errors": dict(self.errors.most_common()),
            "priced": self.priced,
            "cost_usd": self.cost if self.priced else None,
        }


def _groups(
    connection: sqlite3.Connection, which: Filter, by: Sequence[str]
) -> tuple[dict[tuple[str, ...], _Group], float | None]:
    _check_columns(by)
    columns = (
        *("ended", "duration", "status", "error_type", "first_token"),
        *("retries", "input_tokens", "output_tokens", "cost_usd"),
    )
    groups: defaultdict[tuple[str, ...], _Group] = defaultdict(_Group)
    oldest = None
    for row in _newest(connection, (*columns, *by), which, MAX_ROWS):
        oldest, duration, status, error, first_token, retries, input_tokens, output_tokens, cost, *key = row
        group = groups[_key(key)]
        group.durations.append(duration)
        if status == "ok":
            group.succeeded += 1
        else:
            group.errors[error or status] += 1
        group.retries += retries or 0
        group.input_tokens += input_tokens or 0
        group.output_tokens += output_tokens or 0
        if first_token is not None:
            group.first_tokens.append(first_token)
        if cost is not None:
            group.priced += 1
            group.cost += cost
    return groups, oldest


def _key(texts: Sequence[str | None]) -> tuple[str, ...]:
    """What a group has in common; no session is the empty one."""
    return tuple([text or "" for text in texts])


def _newest(connection: sqlite3.Connection, columns: Sequence[str], which: Filter, limit: int) -> Iterator[Row]:
    condition, values = which.where()
    return connection.execute(
        f"SELECT {', '.join(columns)} FROM {_FROM} WHERE {condition}"  # noqa: S608 - from our lists
        " ORDER BY ended DESC LIMIT ?",
        (*values, limit),
    )


def _check_columns(by: Sequence[str]) -> None:
    for name in by:
        if name not in TEXTS:
            raise ValueError(f"operations are not summed up by {name!r}: choose {', '.join(TEXTS)}")
