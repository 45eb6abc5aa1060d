"""The history's file: its tables, how it is opened, and how an older one is brought up to date.

Times are Unix seconds; slots are Unix minutes, or quarters of an hour, since 1970. Rows of one table come in the order
of time, so that what is oldest lies together and leaves whole pages behind. A minute of a series has a row for each run
of the agent that saw part of it. What many operations and turns share, their profile and their session, is a row of its
own, with the time when it was last met.

The file belongs to one connection: SQLite before 3.51.3 may damage a file that two of them write at once.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from otel_latency.store.windows import added

PAGE_BYTES: Final = 4096
JOURNAL_BYTES: Final = 1 << 20
"""After so much is written it goes from the journal to its place; one transaction may be longer."""
CACHE_BYTES: Final = 4 << 20
CHECK_BYTES: Final = 1 << 30
"""Larger files are not checked at the start, since that takes 1.5 s a GiB and cannot be left in the middle."""
TABLES: Final = (
    *("series", "counters", "progress", "states", "alerts", "quarters", "minutes"),
    *("profiles", "sessions", "turns", "operations"),
)
"""What is saved first when time is short stands first."""

_APPLICATION_ID: Final = 0x6F6C6869  # "olhi"
_PRAGMAS: Final = (
    f"page_size = {PAGE_BYTES}",
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    f"journal_size_limit = {JOURNAL_BYTES}",
    f"wal_autocheckpoint = {JOURNAL_BYTES // PAGE_BYTES}",
    f"cache_size = -{CACHE_BYTES >> 10}",
)
_FIRST: Final = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE (name, labels)
);
CREATE TABLE minutes (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL,
    series INTEGER NOT NULL,
    run INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX minutes_of_series ON minutes (series, slot, run);
CREATE TABLE quarters (
    id INTEGER PRIMARY KEY,
    slot INTEGER NOT NULL,
    series INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX quarters_of_series ON quarters (series, slot);
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    ended REAL NOT NULL,
    duration REAL NOT NULL,
    service TEXT NOT NULL,
    turn TEXT NOT NULL,
    stage TEXT NOT NULL,
    is_llm INTEGER NOT NULL,
    operation TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    status TEXT NOT NULL,
    error_type TEXT NOT NULL,
    first_token REAL,
    first_audio REAL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    retries INTEGER,
    cost_usd REAL,
    session TEXT,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL
);
CREATE INDEX operations_by_time ON operations (ended);
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    resolved REAL,
    value REAL,
    labels TEXT NOT NULL,
    annotations TEXT NOT NULL,
    UNIQUE (labels, started)
);
CREATE TABLE counters (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    value REAL NOT NULL,
    changed REAL NOT NULL,
    UNIQUE (name, labels)
);
CREATE TABLE progress (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, value INTEGER NOT NULL);
"""

_SECOND: Final = """
CREATE TABLE profiles (
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    turn TEXT NOT NULL,
    stage TEXT NOT NULL,
    is_llm INTEGER NOT NULL,
    operation TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    status TEXT NOT NULL,
    error_type TEXT NOT NULL,
    seen INTEGER NOT NULL,
    UNIQUE (service, turn, stage, is_llm, operation, provider, model, task, status, error_type)
);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL);
INSERT INTO profiles (
    service, turn, stage, is_llm, operation, provider, model, task, status, error_type, seen
) SELECT service, turn, stage, is_llm, operation, provider, model, task, status, error_type, max(ended)
    FROM operations GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
INSERT INTO sessions (session, seen) SELECT session, max(ended) FROM operations WHERE session != '' GROUP BY 1;
ALTER TABLE operations RENAME TO operations_1;
DROP INDEX operations_by_time;
CREATE TABLE operations (
    id INTEGER PRIMARY KEY,
    ended REAL NOT NULL,
    duration REAL NOT NULL,
    profile_id INTEGER NOT NULL,
    session_id INTEGER,
    first_token REAL,
    first_audio REAL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    retries INTEGER,
    cost_usd REAL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL
);
INSERT INTO operations
    SELECT operations_1.id, ended, duration, profiles.id, sessions.id, first_token, first_audio, input_tokens,
        output_tokens, retries, cost_usd, trace_id, span_id
    FROM operations_1
    JOIN profiles USING (service, turn, stage, is_llm, operation, provider, model, task, status, error_type)
    LEFT JOIN sessions USING (session)
    ORDER BY operations_1.id;
CREATE INDEX operations_by_time ON operations (ended);
DROP TABLE operations_1;
CREATE TABLE turns (
    id INTEGER PRIMARY KEY,
    ended REAL NOT NULL,
    duration REAL NOT NULL,
    profile_id INTEGER NOT NULL,
    session_id INTEGER,
    request_id,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    llm_calls INTEGER NOT NULL,
    llm_seconds REAL,
    prompt_tokens INTEGER,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL,
    first_token REAL,
    first_audio REAL,
    data BLOB NOT NULL
);
CREATE INDEX turns_by_time ON turns (ended);
CREATE INDEX turns_by_session ON turns (session_id, ended, profile_id) WHERE session_id IS NOT NULL;
CREATE INDEX turns_by_request ON turns (request_id) WHERE request_id IS NOT NULL;
CREATE UNIQUE INDEX turns_by_span ON turns (trace_id, span_id);
CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    saved REAL NOT NULL,
    part INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (name, saved, part)
);
"""
"""Texts that very many operations share are written once, which halves an operation's room; turns and states begin."""

_THIRD: Final = """
DELETE FROM quarters WHERE slot >= (SELECT value FROM progress WHERE name = 'compacted')
    AND EXISTS (SELECT 1 FROM minutes WHERE series = quarters.series
        AND minutes.slot BETWEEN 15 * quarters.slot AND 15 * quarters.slot + 14);
"""
"""A quarter with a row holds all of its minutes: those that were to be merged again, since they did not, are merged."""

MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _SECOND, _THIRD)
"""Statements that lead from each version of the tables to the next; a file's version is how many it has had."""


class Damaged(Exception):
    """The file is not, or no longer, a history."""


class TooNew(Exception):
    """The file was written by a later version of ours, which may be wanted again: it is left alone."""


def connect(path: str) -> sqlite3.Connection:
    """A connection that no thread owns; it is used by one at a time. Transactions are begun by hand.

    Its statements know `windows.added`.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
    connection.create_function("added", 2, added, deterministic=True)
    return connection


def open_file(path: Path) -> sqlite3.Connection:
    """The history at *path*, checked and up to date. Raises Damaged, TooNew, OSError or sqlite3.Error."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = connect(str(path))
    try:
        prepare(connection)
        check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Settings and tables, made or brought up to date."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _migrate(connection, version)
        for table in TABLES:
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()  # noqa: S608 - the names stand above
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise Damaged("its tables are not ours") from error
        raise
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error


def check(connection: sqlite3.Connection, limit_bytes: int = CHECK_BYTES) -> None:
    """Look for damage in a file that is not larger than the limit. Raises Damaged."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if pages * PAGE_BYTES > limit_bytes:
        return
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise Damaged(str(error)) from error
    if verdict != "ok":
        raise Damaged("its check failed")


def _version(connection: sqlite3.Connection) -> int:
    """The version of its tables, 0 for a new file. Changes nothing; raises Damaged or TooNew."""
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if count and owner != _APPLICATION_ID:
        raise Damaged("it belongs to another program")
    if version > len(MIGRATIONS):
        raise TooNew(f"it is of version {version}, and this program knows {len(MIGRATIONS)}")
    return int(version)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"BEGIN; {statements} PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT"
        )
