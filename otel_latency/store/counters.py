"""The last values of counters, so that they go on from there after a restart.

A counter that goes on from less than what was seen of it last looks like one that began at zero, and Prometheus would
take all of it for new. So values are to be kept whenever they are shown, and not only now and then.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

from otel_latency.records import Family, Labels, ValueSeries
from otel_latency.store.windows import labels_text

Counter = tuple[str, Labels, float]
"""Name, labels in the order of their names, and value."""


def counters_of(families: Iterable[Family]) -> Iterator[Counter]:
    """The counters among *families*."""
    for family in families:
        if family.type == "counter":
            for series in family.series:
                if isinstance(series, ValueSeries):
                    yield family.name, tuple(sorted(series.labels)), series.value


def insert(transaction: sqlite3.Connection, counters: Iterable[Counter], now: float) -> None:
    """Write the values of *counters*."""
    transaction.executemany(
        "INSERT INTO counters (name, labels, value, changed) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name, labels) DO UPDATE SET value = excluded.value, changed = excluded.changed",
        [(name, labels_text(labels), value, now) for name, labels, value in counters],
    )


def read(connection: sqlite3.Connection) -> dict[tuple[str, Labels], float]:
    """Every counter that is kept, by its name and its labels in the order of their names."""
    rows = connection.execute("SELECT name, labels, value FROM counters")
    return {(name, tuple(sorted(json.loads(labels).items()))): value for name, labels, value in rows}
