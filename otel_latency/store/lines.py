"""The line of a series over any time: each point covers a step, and its percentiles come from merged sketches.

As far back as minutes are kept a step is any number of them. Lines that begin earlier are made of quarters, and of the
minutes of those that are not merged yet. Windows are never cut: the line begins with the window that *since* lies in.

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
from otel_latency.store.windows import MINUTE, PER_QUARTER, QUARTER, Window, merged

MAX_POINTS: Final = 11_000
"""Of one series."""
MAX_SERIES: Final = 500
MAX_ANSWERED: Final = 100_000
"""Points of all series of an answer together."""
POINTS: Final = 300
"""About as many are answered where no step was asked for."""
_GONE: Final = f"""
SELECT 1 FROM quarters AS one WHERE series = ? AND slot >= ? AND slot < ? AND NOT EXISTS
    (SELECT 1 FROM minutes WHERE series = one.series
        AND slot BETWEEN {PER_QUARTER} * one.slot AND {PER_QUARTER} * one.slot + {PER_QUARTER - 1})
LIMIT 1
"""  # noqa: S608 - all of it is made of our own words
_QUARTERS: Final = f"""
SELECT slot, data FROM quarters WHERE series = :series AND slot >= :first AND slot < :last
UNION ALL SELECT slot / {PER_QUARTER}, data FROM minutes AS one
    WHERE series = :series AND slot >= {PER_QUARTER} * :first AND slot < {PER_QUARTER} * :last
    AND NOT EXISTS (SELECT 1 FROM quarters WHERE series = one.series AND slot = one.slot / {PER_QUARTER})
ORDER BY 1
"""  # noqa: S608 - all of it is made of our own words
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
    if not 0 <= since < until < 1e11:
        raise ValueError("from and to are Unix seconds, from before to")
    base = MINUTE if _are_in_minutes(connection, chosen, since, until) else QUARTER
    span = _span(base, since, until, step, max(len(chosen), 1))
    shown = [{"labels": labels, "points": list(_points(connection, series, span))} for series, labels in chosen]
    return {"series": [one for one in shown if one["points"]]}


def _chosen(connection: sqlite3.Connection, selector: Selector) -> list[tuple[int, dict[str, str]]]:
    rows = connection.execute("SELECT id, labels FROM series WHERE name = ? ORDER BY labels", (selector.name,))
    named = ((series, json.loads(labels)) for series, labels in rows)
    chosen = [(series, labels) for series, labels in named if selector.matches(labels)]
    if len(chosen) > MAX_SERIES:
        raise ValueError(f"{len(chosen)} series match, more than {MAX_SERIES}: name more of their labels")
    return chosen


def _span(base: int, since: float, until: float, step: float | None, series: int) -> Span:
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


def _are_in_minutes(
    connection: sqlite3.Connection, chosen: list[tuple[int, dict[str, str]]], since: float, until: float
) -> bool:
    """Whether minutes tell all of that time: there is no quarter of it whose minutes are gone."""
    quarters = int(since // QUARTER), ceil(until / QUARTER)
    return not any(connection.execute(_GONE, (series, *quarters)).fetchone() for series, _ in chosen)


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
    """Quarters, and the minutes of those that have not been merged."""
    return connection.execute(_QUARTERS, {"series": series, "first": span.first, "last": span.last})
