import os
import sqlite3
import stat
from functools import partial

import pytest
from damage import change, foreign
from store.past import count, fill

from otel_latency.store import schema
from otel_latency.store.schema import MIGRATIONS, Damaged, TooNew, open_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def filled(path, rows=2000):
    connection = open_file(path)
    fill(connection, rows)
    connection.close()


def test_settings(path):
    """Commits reach the disk, in a journal beside the file, which nobody else may read."""
    connection = open_file(path)
    asked = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert {"journal_mode": "wal", "synchronous": 2} == asked
    assert len(MIGRATIONS) == connection.execute("PRAGMA user_version").fetchone()[0]
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    connection.close()


def test_opened_again(path):
    """What was written is there."""
    filled(path, 10)
    connection = open_file(path)
    assert 10 == count(connection, "operations")
    connection.close()


def test_one_owner(path):
    """A second connection, of whatever process, is kept out."""
    first = open_file(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_file(path)
    first.close()


def test_migration(path, monkeypatch):
    """A file of an older version is brought up to date, and one of a later version left alone."""
    filled(path, 3)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "ALTER TABLE operations ADD COLUMN region TEXT;"))
    connection = open_file(path)
    rows = connection.execute("SELECT region FROM operations").fetchall()
    assert ([(None,)] * 3, len(MIGRATIONS) + 1) == (rows, connection.execute("PRAGMA user_version").fetchone()[0])
    connection.close()
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    with pytest.raises(TooNew, match="version 2"):
        open_file(path)


def overwritten(path):
    data = bytearray(path.read_bytes())
    data[8192:16384] = os.urandom(8192)
    path.write_bytes(data)


DAMAGES = {
    "overwritten": overwritten,
    "cut short": lambda path: os.truncate(path, 40_000),
    "no database": lambda path: path.write_bytes(b"hello " * 1000),
    "of another program": foreign,
    "of other tables": partial(change, statement="DROP TABLE quarters"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage(damage, path):
    """is found at the start."""
    filled(path)
    damage(path)
    with pytest.raises(Damaged):
        open_file(path)


def test_the_check_is_bounded(path):
    """A file so large that the check would take long is taken for sound."""
    filled(path)
    overwritten(path)
    connection = sqlite3.connect(path)
    schema.check(connection, path.stat().st_size - 1)
    with pytest.raises(Damaged):
        schema.check(connection, path.stat().st_size)
    connection.close()
