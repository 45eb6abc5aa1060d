"""Alerts by episode: one row from the moment an alert began to fire until it was resolved, however often it is told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final

from otel_latency.records import Alert
from otel_latency.store.shapes import JSONObject
from otel_latency.store.windows import labels_text

MAX_SHOWN: Final = 10_000


def insert(transaction: sqlite3.Connection, alerts: Iterable[Alert]) -> None:
    """Write what *alerts* tell of their episodes."""
    transaction.executemany(
        "INSERT INTO alerts (started, resolved, value, labels, annotations) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (labels, started) DO UPDATE SET"
        " resolved = excluded.resolved, value = excluded.value, annotations = excluded.annotations",
        [
            (
                alert.starts_at,
                None if alert.is_firing else alert.ends_at,
                alert.value,
                labels_text(alert.labels),
                labels_text(alert.annotations),
            )
            for alert in alerts
        ],
    )


def alerts(connection: sqlite3.Connection, since: float, until: float, limit: int = 100) -> JSONObject:
    """Episodes that began from *since* on and before *until*, the latest first; `resolved` is None while it fires."""
    rows = connection.execute(
        "SELECT started, resolved, value, labels, annotations FROM alerts WHERE started >= ? AND started < ?"
        " ORDER BY started DESC LIMIT ?",
        (since, until, min(limit, MAX_SHOWN)),
    )
    return {
        "alerts": [
            {
                "labels": json.loads(labels),
                "annotations": json.loads(annotations),
                "start": started,
                "resolved": resolved,
                "value": value,
            }
            for started, resolved, value, labels, annotations in rows
        ]
    }
