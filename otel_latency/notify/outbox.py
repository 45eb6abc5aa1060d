"""What must survive a crash, in one SQLite file: the groups as they were told, and the notifications on their way.

A commit has reached the disk when `commit` returns. The file belongs to one process at a time. A file that is damaged,
or is something else, is put aside as `*.corrupt-TIME` (the last two are kept) and a new one is begun. Where no file can
be opened the outbox lives in memory; `fault` tells of either, for /status.

The folder is its owner's to make; the file is for the agent's user alone. Everything here blocks: it is called on one
thread, that of its owner.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from otel_latency.aside import put_aside
from otel_latency.notify.dedup import Group
from otel_latency.notify.queue import Pending

GroupId = tuple[str, str]
"""A notifier's name and a group's key."""

_APPLICATION_ID: Final = 0x6F6C6E31  # "oln1": our file, in the first version of its tables
_JOURNAL_BYTES: Final = 4 << 20
_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    f"journal_size_limit = {_JOURNAL_BYTES}",
)
_TABLES: Final = """
CREATE TABLE told (notifier TEXT, key TEXT, data BLOB NOT NULL, PRIMARY KEY (notifier, key)) WITHOUT ROWID;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY,
    notifier TEXT NOT NULL,
    key TEXT NOT NULL,
    created REAL NOT NULL,
    is_repeat INTEGER NOT NULL,
    data BLOB NOT NULL
);
"""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Changes:
    """What one transaction writes: groups by their id (None: forgotten), notifications to add, ids to remove."""

    groups: dict[GroupId, Group | None] = field(default_factory=dict)
    added: list[Pending] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.groups or self.added or self.removed)


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is kept; notifications in the order of their ids."""

    groups: Mapping[GroupId, Group]
    pending: list[Pending]


class Outbox:
    """Kept in the file at *path*; `open` comes first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.fault = ""

    def open(self, now: float) -> Contents:
        """Read what is there. *now* (Unix seconds) names what has to be put aside. Raises nothing."""
        try:
            return self._open_file()
        except _Damaged as error:
            return self._begin_anew(error, now)
        except (OSError, sqlite3.Error) as error:
            return self._stay_in_memory(error)

    def commit(self, changes: Changes) -> None:
        """Write *changes*, all or none. Raises sqlite3.Error when the disk does not take them."""
        assert self._connection is not None
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            _write(transaction, changes)

    def replace(self, contents: Contents) -> None:
        """Write *contents* in place of everything; for after a commit has failed. Raises sqlite3.Error."""
        assert self._connection is not None
        with self._connection as transaction:
            transaction.execute("BEGIN IMMEDIATE")
            transaction.execute("DELETE FROM told")
            transaction.execute("DELETE FROM pending")
            _write(transaction, Changes(dict(contents.groups), contents.pending))

    def close(self) -> None:
        """Closing twice, or before opening, is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_file(self) -> Contents:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = _connect(str(self._path))
        try:
            contents = _checked(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return contents

    def _begin_anew(self, error: Exception, now: float) -> Contents:
        try:
            aside = put_aside(self._path, now).name
            contents = self._open_file()
        except (_Damaged, OSError, sqlite3.Error) as second:
            return self._stay_in_memory(second)
        self.fault = f"the outbox was damaged ({error}): it is kept as {aside}, and what waited in it was not sent"
        log.error("%s", self.fault)
        return contents

    def _stay_in_memory(self, error: Exception) -> Contents:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.fault = f"the outbox cannot be opened ({reason}): notifications do not survive a restart"
        log.error("%s", self.fault)
        self._connection = _connect(":memory:")
        return _checked(self._connection)


class _Damaged(Exception):
    """The file is not, or no longer, an outbox."""


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)


def _checked(connection: sqlite3.Connection) -> Contents:
    """The contents of a sound file, or of one just begun. Raises _Damaged."""
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _begin(connection)
        _check(connection)
        return _read(connection)
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise _Damaged("its tables are not ours") from error
        raise
    except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
        raise _Damaged(str(error)) from error


def _begin(connection: sqlite3.Connection) -> None:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not count:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID}; COMMIT")


def _check(connection: sqlite3.Connection) -> None:
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != _APPLICATION_ID:
        raise _Damaged("it belongs to another program")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _Damaged("its check failed")


def _read(connection: sqlite3.Connection) -> Contents:
    with closing(connection.execute("SELECT notifier, key, data FROM told")) as rows:
        groups = {(notifier, key): msgspec.msgpack.decode(data, type=Group) for notifier, key, data in rows}
    return Contents(groups, list(_read_pending(connection)))


def _read_pending(connection: sqlite3.Connection) -> Iterator[Pending]:
    columns = "id, notifier, key, created, is_repeat, data"
    for number, notifier, key, created, is_repeat, data in connection.execute(
        f"SELECT {columns} FROM pending ORDER BY id"  # noqa: S608 - the columns stand above
    ):
        yield Pending(number, notifier, key, created, bool(is_repeat), data)


def _write(transaction: sqlite3.Connection, changes: Changes) -> None:
    for (notifier, key), group in changes.groups.items():
        if group is None:
            transaction.execute("DELETE FROM told WHERE notifier = ? AND key = ?", (notifier, key))
        else:
            row = (notifier, key, msgspec.msgpack.encode(group))
            transaction.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", row)
    transaction.executemany("INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?)", _rows(changes.added))
    transaction.executemany("DELETE FROM pending WHERE id = ?", [(number,) for number in changes.removed])


def _rows(pending: Iterable[Pending]) -> Iterator[tuple[object, ...]]:
    for one in pending:
        yield one.id, one.notifier, one.key, one.created, one.is_repeat, one.data
