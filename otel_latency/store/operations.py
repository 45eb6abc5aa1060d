"""Every finished operation: a turn, a stage or a call of a model, a row each, self-contained.

Cost: 1 us a span for its row, 4 us to write it; about 120 bytes with its place in the index.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_latency.records import LLMProfile, SpanRow
from otel_latency.sketch import Sketch
from otel_latency.store.shapes import JSONObject, distribution

COLUMNS: Final = (
    *("ended", "duration", "service", "turn", "stage", "is_llm", "operation", "provider", "model", "task", "status"),
    *("error_type", "first_token", "first_audio", "input_tokens", "output_tokens", "retries", "cost_usd"),
    *("session", "trace_id", "span_id"),
)
TEXTS: Final = ("service", "turn", "stage", "operation", "provider", "model", "task", "status", "error_type", "session")
"""What operations can be looked for by, and summed up by."""
MAX_ROWS: Final = 200_000
"""The most rows that one summary looks at: the newest."""
MAX_SHOWN: Final = 10_000
CLOCKS_DIFFER: Final = 5.0
"""Seconds that an end may lie ahead of now; one that lies beyond is taken for now."""
_NO_LLM: Final = LLMProfile()
_PLACES: Final = ", ".join("?" * len(COLUMNS))
_INSERT: Final = f"INSERT INTO operations ({', '.join(COLUMNS)}) VALUES ({_PLACES})"  # noqa: S608 - from our list

Row = tuple[Any, ...]


def rows_of(spans: Iterable[SpanRow], now: float) -> Iterator[Row]:
    """The rows of spans that stand for work; *now* is Unix seconds."""
    latest = now + CLOCKS_DIFFER
    for profile, trace_id, span_id, _, start_ns, end_ns, measures in spans:
        if not (profile.stage or profile.turn):
            continue
        llm = profile.llm
        words = llm or _NO_LLM
        known = (measures or {}).get
        duration = known("duration")
        if not isinstance(duration, float):
            duration = max((end_ns - start_ns) / 1e9, 0.0) if start_ns and end_ns else 0.0
        ended = end_ns / 1e9
        yield (
            *(ended if 0 < ended <= latest else now, duration, profile.service, profile.turn, profile.stage),
            *(llm is not None, words.operation, words.provider, words.model, words.task),
            *(profile.status, words.error_type, known("ttft"), known("ttfa")),
            *(known("input_tokens"), known("output_tokens"), known("retries"), known("cost_usd")),
            *(known("session"), trace_id, span_id),
        )


def insert(transaction: sqlite3.Connection, spans: Iterable[SpanRow], now: float) -> None:
    """Write the rows of *spans*."""
    transaction.executemany(_INSERT, rows_of(spans, now))


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

    `from` is the end of the oldest operation that was looked at: of very many only the newest `MAX_ROWS` are.
    """
    groups, oldest = _groups(connection, which, by)
    shown = [
        {**dict(zip(by, key, strict=True)), **group.shown()}
        for key, group in sorted(groups.items(), key=lambda pair: (-len(pair[1].durations), pair[0]))
    ]
    return {"from": oldest, "summary": shown}


def durations(
    connection: sqlite3.Connection, which: Filter, by: Sequence[str] = ("provider", "model"), limit: int = 5000
) -> dict[tuple[str, ...], array[float]]:
    """The newest successful durations of each group, at most *limit*: what comparisons begin with (LM10)."""
    _check_columns(by)
    found: defaultdict[tuple[str, ...], array[float]] = defaultdict(lambda: array("d"))
    for duration, status, *key in _newest(connection, ("duration", "status", *by), which, MAX_ROWS):
        values = found[tuple(key)]
        if status == "ok" and len(values) < limit:
            values.append(duration)
    return dict(found)


def sessions(connection: sqlite3.Connection, which: Filter, limit: int = 100) -> JSONObject:
    """Sessions, the latest first: `{"sessions": [...]}`.

    Turns tell of their number and durations, calls of tokens and cost; a cost that no call told is None.
    """
    condition, values = which.where()
    columns = {
        "session": "session",
        "start": "min(ended - duration)",
        "end": "max(ended)",
        "turns": "count(*) FILTER (WHERE turn != '')",
        "failed_turns": "count(*) FILTER (WHERE turn != '' AND status != 'ok')",
        "mean_seconds": "avg(duration) FILTER (WHERE turn != '')",
        "mean_first_token_seconds": "avg(first_token) FILTER (WHERE turn != '')",
        "mean_first_audio_seconds": "avg(first_audio) FILTER (WHERE turn != '')",
        "llm_calls": "sum(is_llm)",
        "input_tokens": "sum(input_tokens) FILTER (WHERE is_llm)",
        "output_tokens": "sum(output_tokens) FILTER (WHERE is_llm)",
        "cost_usd": "sum(cost_usd) FILTER (WHERE is_llm)",
    }
    rows = connection.execute(
        f"SELECT {', '.join(columns.values())} FROM operations INDEXED BY operations_by_time WHERE {condition}"  # noqa: S608
        " AND session != '' GROUP BY session ORDER BY max(ended) DESC LIMIT ?",
        (*values, min(limit, MAX_SHOWN)),
    )
    return {"sessions": [dict(zip(columns, row, strict=True)) for row in rows]}


class _Group:
    """Operations alike."""

    def __init__(self) -> None:
        self.durations = array("d")
        self.first_tokens = array("d")
        self.succeeded = 0
        self.retries = 0.0
        self.input_tokens = 0.0
        self.output_tokens = 0.0
        self.cost: float | None = None

    def shown(self) -> JSONObject:
        count = len(self.durations)
        return {
            **distribution(Sketch(self.durations)),
            "success_ratio": self.succeeded / count,
            "mean_retries": self.retries / count,
            "first_token": distribution(Sketch(self.first_tokens)),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost,
        }


def _groups(
    connection: sqlite3.Connection, which: Filter, by: Sequence[str]
) -> tuple[dict[tuple[str, ...], _Group], float | None]:
    _check_columns(by)
    columns = ("ended", "duration", "status", "first_token", "retries", "input_tokens", "output_tokens", "cost_usd")
    groups: defaultdict[tuple[str, ...], _Group] = defaultdict(_Group)
    oldest = None
    for row in _newest(connection, (*columns, *by), which, MAX_ROWS):
        oldest, duration, status, first_token, retries, input_tokens, output_tokens, cost, *key = row
        group = groups[tuple(key)]
        group.durations.append(duration)
        group.succeeded += status == "ok"
        group.retries += retries or 0
        group.input_tokens += input_tokens or 0
        group.output_tokens += output_tokens or 0
        if first_token is not None:
            group.first_tokens.append(first_token)
        if cost is not None:
            group.cost = cost + (group.cost or 0.0)
    return groups, oldest


def _newest(connection: sqlite3.Connection, columns: Sequence[str], which: Filter, limit: int) -> Iterator[Row]:
    condition, values = which.where()
    return connection.execute(
        f"SELECT {', '.join(columns)} FROM operations INDEXED BY operations_by_time"  # noqa: S608 - from our lists
        f" WHERE {condition} ORDER BY ended DESC LIMIT ?",
        (*values, limit),
    )


def _check_columns(by: Sequence[str]) -> None:
    for name in by:
        if name not in TEXTS:
            raise ValueError(f"operations are not summed up by {name!r}: choose {', '.join(TEXTS)}")
