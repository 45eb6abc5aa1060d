import gzip
import os
import sqlite3
import stat
from functools import partial
from pathlib import Path

import pytest
from damage import change, foreign
from store.past import NOW, count, fill

from otel_latency.store import operations, schema, sessions, windows
from otel_latency.store.operations import Filter
from otel_latency.store.schema import MIGRATIONS, TABLES, Damaged, TooNew, open_file

VERSION_1 = Path(__file__).parents[1] / "testdata" / "store" / "history-1.db.gz"


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
    with pytest.raises(TooNew, match=f"version {len(MIGRATIONS) + 1}"):
        open_file(path)


def test_version_1(path):
    """A file as the first version left it has all of its operations afterwards, and whatever else was in it."""
    path.write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    connection = open_file(path)
    shown = operations.operations(connection, Filter())["operations"]
    assert ([12, 12, 3], 27) == (
        [sum(one[key] == text for one in shown) for key, text in KINDS_OF_VERSION_1],
        len(shown),
    )
    (failed,) = [one for one in shown if one["span_id"] == f"{42:016x}"]
    expected = {"provider": "groq", "model": "llama", "error_type": "timeout", "status": "error", "retries": 2}
    expected |= {"session": "s0", "duration_seconds": 9.0, "start": NOW - 108, "is_llm": True, "cost_usd": None}
    assert expected == {key: failed[key] for key in expected}
    of_sessions = operations.summary(connection, Filter(kind="llm"), by=("session",))["summary"]
    assert {("s0", 4 * 0.002), ("s1", 4 * 0.002)} <= {(one["session"], one["cost_usd"]) for one in of_sessions}
    assert {"sessions": []} == sessions.sessions(connection)
    counts = {table: count(connection, table) for table in TABLES}
    assert {"series": 1, "counters": 1, "progress": 1, "states": 0, "alerts": 1, "minutes": 1, "turns": 0} == {
        table: counts[table] for table in ("series", "counters", "progress", "states", "alerts", "minutes", "turns")
    }
    assert ((3, 2), 1) == ((counts["profiles"], counts["sessions"]), windows.progress(connection, "run"))
    connection.close()
    open_file(path).close()


KINDS_OF_VERSION_1 = (("turn", "answer"), ("provider", "openai"), ("provider", "groq"))


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
