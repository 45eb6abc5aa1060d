"""The line of a series over any time: each point covers a step, and its percentiles come from merged sketches.

As far back as minutes are kept a step is any number of them. A line that begins earlier is made of quarters, but for
the newest which are not merged yet. Windows are never cut: the line begins with the window that *since* lies in.

Cost: about 15 us for each window read; one sketch in memory at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from math import ceil
from typing import Final, NamedTuple

from otel_latency.sketch import Sketch
from otel_latency.store.selector import Selector
from otel_latency.store.shapes import PERCENTILES, JSONObject, distribution
from otel_latency.store.windows import MINUTE, PER_QUARTER, QUARTER, Window, compacted, merged

MAX_POINTS: Final = 11_000
"""Of one series."""
MAX_SERIES: Final = 500
MAX_ANSWERED: Final = 100_000
"""Points of all series of an answer together."""
POINTS: Final = 300
"""About as many are answered where no step was asked for."""
_NEVER: Final = 2**40
_OLDEST_MINUTE: Final = "SELECT min((SELECT min(slot) FROM minutes WHERE series = series.id)) FROM series"
"""Rows do not come in the order of slots: looked up at the end of each series' index."""
_ANY_QUARTER: Final = (
    "SELECT 1 FROM series WHERE EXISTS"
    " (SELECT 1 FROM quarters WHERE series = series.id AND slot BETWEEN ? AND ?) LIMIT 1"
)
_NO_PERCENTILES: Final = dict.fromkeys(PERCENTILES)


class Span(NamedTuple):
    """Windows from the slot *first* up to and without *last*, `base` seconds each, `per_point` of them to a point."""

    first: int
    last: int
    base: int
    per_point: int


def history(
    connection: sqlite3.Connection, selector: Selector, since: float, until: float, step: float | None = None
) -> JSONObject:
    """`{"series": [{"labels", "points": [{"start", "seconds", "count", "sum", "mean", "min", ...}]}]}`.

    Points without observations are left out. Raises ValueError where that asks for too much, or for nothing.
    """
    chosen = _chosen(connection, selector)
    span = _span(connection, since, until, step, max(len(chosen), 1))
    shown = [{"labels": labels, "points": list(_points(connection, series, span))} for series, labels in chosen]
    return {"series": [one for one in shown if one["points"]]}


def _chosen(connection: sqlite3.Connection, selector: Selector) -> list[tuple[int, dict[str, str]]]:
    rows = connection.execute("SELECT id, labels FROM series WHERE name = ? ORDER BY labels", (selector.name,))
    named = ((series, json.loads(labels)) for series, labels in rows)
    chosen = [(series, labels) for series, labels in named if selector.matches(labels)]
    if len(chosen) > MAX_SERIES:
        raise ValueError(f"{len(chosen)} series match, more than {MAX_SERIES}: name more of their labels")
    return chosen


def _span(connection: sqlite3.Connection, since: float, until: float, step: float | None, series: int) -> Span:
    if not 0 <= since < until < 1e11:
        raise ValueError("from and to are Unix seconds, from before to")
    base = MINUTE if _is_in_minutes(connection, since) else QUARTER
    first, last = int(since // base), ceil(until / base)
    if step is None:
        step = (until - since) / min(POINTS, MAX_ANSWERED / series - 2)  # it begins and ends within a window
    per_point = max(ceil(step / base), 1)
    points = ceil((last - first) / per_point)
    if points > MAX_POINTS:
        raise ValueError(f"that is more than {MAX_POINTS} points: ask for a longer step or a shorter time")
    if points * series > MAX_ANSWERED:
        raise ValueError(
            f"{points} points of each of {series} series are more than {MAX_ANSWERED}: "
            "ask for a longer step or a shorter time, or name more of the labels"
        )
    return Span(first, last, base, per_point)


def _is_in_minutes(connection: sqlite3.Connection, since: float) -> bool:
    """Whether minutes tell of all that is known since then: no quarter does whose minutes are gone."""
    (minute,) = connection.execute(_OLDEST_MINUTE).fetchone()
    if minute is None:
        minute = _NEVER
    gone = int(since // QUARTER) - 1, minute // PER_QUARTER - 1
    return since >= minute * MINUTE or connection.execute(_ANY_QUARTER, gone).fetchone() is None


def _points(connection: sqlite3.Connection, series: int, span: Span) -> Iterator[JSONObject]:
    windows = _minutes(connection, series, span) if span.base == MINUTE else _quarters(connection, series, span)
    for number, group in groupby(windows, lambda row: (row[0] - span.first) // span.per_point):
        whole = merged(data for _, data in group)
        if whole is not None and whole.count:
            start = (span.first + number * span.per_point) * span.base
            yield {"start": start, "seconds": span.per_point * span.base, **shown(whole)}


def shown(window: Window) -> JSONObject:
    """What a window tells; a gauge has no percentiles."""
    if isinstance(window, Sketch):
        return distribution(window)
    mean = window.sum / window.count
    ends = {"min": window.minimum, "max": window.maximum}
    return {"count": window.count, "sum": window.sum, "mean": mean, **ends, **_NO_PERCENTILES}


def _minutes(connection: sqlite3.Connection, series: int, span: Span) -> Iterator[tuple[int, bytes]]:
    query = "SELECT slot, data FROM minutes WHERE series = ? AND slot >= ? AND slot < ? ORDER BY slot"
    return connection.execute(query, (series, span.first, span.last))


def _quarters(connection: sqlite3.Connection, series: int, span: Span) -> Iterator[tuple[int, bytes]]:
    """Quarters, then the minutes of those that have not been merged."""
    merged_up_to = min(max(compacted(connection), span.first), span.last)
    query = "SELECT slot, data FROM quarters WHERE series = ? AND slot >= ? AND slot < ? ORDER BY slot"
    yield from connection.execute(query, (series, span.first, merged_up_to))
    newest = Span(merged_up_to * PER_QUARTER, span.last * PER_QUARTER, MINUTE, 1)
    for slot, data in _minutes(connection, series, newest):
        yield slot // PER_QUARTER, data
