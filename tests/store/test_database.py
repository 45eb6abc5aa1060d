import os
import sqlite3
from contextlib import suppress

import pytest
from store.past import LLM, NAME, NOW, count, finish, minute, span, turn

from otel_latency.records import Alert
from otel_latency.store import states
from otel_latency.store.database import ASIDE_BYTES, Batch, Database
from otel_latency.store.schema import PAGE_BYTES

MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "history.db"


@pytest.fixture
def reopen(path):
    """Close what was opened before, and open again."""
    opened = []

    def again(max_bytes=64 * MIB, at=path):
        for each in opened:
            each.close()
        opened.append(Database(at, detail=86400, aggregate=30 * 86400, max_bytes=max_bytes))
        opened[-1].open(NOW)
        return opened[-1]

    yield again
    for each in opened:
        each.close()


def operations(database):
    return database.answer(lambda connection: count(connection, "operations"))


def spans(first, last):
    return [span(end=NOW - 10_000 + number, number=number) for number in range(first, last)]


def test_what_is_written_is_read(reopen):
    """A batch of everything is there after the next start, counters by name and labels."""
    alert = Alert({"a": "b"}, {}, NOW, NOW, True, 1.0)
    reopen().write(Batch(spans(0, 3), [minute(1, [1.0])], [alert], [("c_total", LLM, 5.0)]), NOW)
    database = reopen()
    tables = ("operations", "minutes", "alerts")
    assert [3, 1, 1] == [database.answer(lambda connection, table=one: count(connection, table)) for one in tables]
    assert ({("c_total", LLM): 5.0}, "") == (database.counters(), database.fault)


def test_all_or_nothing(reopen):
    """Of a batch that fails nothing is kept, and the next one is written, the series it named first included."""
    database = reopen()
    broken = span(number=1, input_tokens=2**70)
    with pytest.raises(OverflowError):
        database.write(Batch([broken], [minute(1, [1.0])]), NOW)
    bad = Batch(spans(0, 1), [minute(1, [1.0])], [], [("c_total", (), None)])
    with pytest.raises(sqlite3.IntegrityError):
        database.write(bad, NOW)
    with pytest.raises(sqlite3.Error, match="not supported"):
        database.write(Batch([span(ttft=["no", "number"])]), NOW)
    assert 0 == operations(database)
    database.write(Batch([], [minute(2, [1.0])]), NOW)
    assert "" == database.fault
    names = "SELECT name FROM minutes JOIN series ON series.id = minutes.series"
    assert [(NAME,)] == database.answer(lambda connection: connection.execute(names).fetchall())


def test_runs_are_told_apart(reopen):
    """The same minute of two runs is two rows."""
    for values in ([1.0], [2.0]):
        reopen().write(Batch(minutes=[minute(1, values)]), NOW)
    assert 2 == reopen().answer(lambda connection: count(connection, "minutes"))


def test_damage_at_the_start(reopen, path):
    """A damaged file is kept aside, told, and what can be read of it is in the new one."""
    reopen().write(Batch(spans(0, 5000), [minute(1, [1.0])]), NOW)
    reopen().close()
    data = bytearray(path.read_bytes())
    page = len(data) // PAGE_BYTES // 2
    data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = os.urandom(PAGE_BYTES)
    path.write_bytes(data)
    database = reopen()
    assert "the history was damaged (its check failed): it is kept as history.db.corrupt-1700000100" in database.fault
    assert (path.parent / "history.db.corrupt-1700000100").exists()
    assert 4500 < operations(database)
    database.write(Batch(spans(5000, 5001)), NOW)
    assert "" == reopen().fault


FINDERS = {
    "by the write": lambda database: None,
    "by a question": lambda database: database.answer(lambda connection: connection.execute(EVERY).fetchall()),
    "by maintenance": lambda database: finish(database.maintain(NOW + 1e10)),
}
EVERY = "SELECT sum(length(model)) FROM operations NOT INDEXED"


@pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)
def test_damage_later(find, reopen, path):
    """A file that turns out damaged later is put aside by the next write, which goes to the new one."""
    database = reopen()
    database.write(Batch(spans(0, 3000), [minute(1, [1.0])]), NOW)
    database = reopen()
    database.answer(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    database.answer(lambda connection: connection.execute("PRAGMA cache_size = 1").fetchall())
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES * 3)
        file.write(os.urandom(size - PAGE_BYTES * 3))
    with suppress(sqlite3.DatabaseError):
        find(database)
    database.write(Batch(spans(3000, 3010), [minute(2, [1.0])]), NOW)
    assert "the history was damaged" in database.fault
    assert 10 <= operations(database)


UNOPENABLE = {
    "locked": (
        lambda path: sqlite3.connect(path).execute("BEGIN EXCLUSIVE"),
        "another agent uses it: give each its own",
    ),
    "a directory": (lambda path: path.mkdir(), "name a directory that is the agent's own"),
    "of a later version": (
        lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
        "go back to that version",
    ),
}


@pytest.mark.parametrize(("spoil", "cure"), UNOPENABLE.values(), ids=UNOPENABLE)
def test_memory(spoil, cure, reopen, path):
    """Where no file can be opened the history is in memory, short, says so and what helps; the file is as it was."""
    path.parent.mkdir()
    held = spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    database = reopen()
    assert "cannot hold the history" in database.fault
    assert f"it is in memory, short, and does not survive a restart: {cure}" in database.fault
    assert database.is_in_memory
    for first in range(0, 100_000, 10_000):
        database.write(Batch(spans(first, first + 10_000)), NOW)
    assert 8 * MIB >= database.used_bytes
    assert operations(database) + database.dropped["operations"] == 100_000
    finish(database.maintain(NOW))
    assert database.is_in_memory
    assert before == (path.read_bytes() if path.is_file() else b"")
    del held


def test_the_cap(reopen, path):
    """However much is written, the files never take more than allowed: the oldest operations go, counted."""
    database = reopen(max_bytes=16 * MIB)
    database.write(Batch(minutes=[minute(1, [1.0])]), NOW)
    largest = 0
    for first in range(0, 150_000, 5_000):
        database.write(Batch(spans(first, first + 5_000)), NOW)
        largest = max(largest, sum(each.stat().st_size for each in path.parent.iterdir()))
    assert 10 * MIB < largest <= 16 * MIB
    assert 150_000 == operations(database) + database.dropped["operations"]
    newest = "SELECT max(span_id) FROM operations"
    assert (149_999).to_bytes(8, "big") == database.answer(lambda connection: connection.execute(newest).fetchone()[0])
    assert {"operations"} == set(database.dropped)


def test_the_cap_with_turns_and_states(reopen, path):
    """Turns go with the operations, and no state is lost; the files never take more than allowed."""
    database = reopen(max_bytes=16 * MIB)
    largest = 0
    for first in range(0, 60_000, 3_000):
        ended = NOW - 60_000 + first
        finished = [turn(ended + number / 10, number=first + number) for number in range(1_000)]
        batch = Batch([span(end=ended + number / 10, number=first + number) for number in range(3_000)], turns=finished)
        database.write(batch, NOW)
        database.keep("predictor", os.urandom(MIB), NOW)
        largest = max(largest, sum(each.stat().st_size for each in path.parent.iterdir()))
    assert 10 * MIB < largest <= 16 * MIB
    assert {"operations", "turns"} == set(database.dropped)
    turns = database.answer(lambda connection: count(connection, "turns"))
    assert 20_000 == turns + database.dropped["turns"]
    oldest = "SELECT min(ended) FROM operations UNION ALL SELECT min(ended) FROM turns"
    (one,), (two,) = database.answer(lambda connection: connection.execute(oldest).fetchall())
    assert abs(one - two) <= 3_000
    assert MIB == len(database.answer(lambda connection: states.read(connection, "predictor")))


def test_a_cap_that_was_lowered(reopen, path):
    """The file shrinks to the new one with the next maintenance."""
    reopen().write(Batch(spans(0, 120_000)), NOW)
    reopen(max_bytes=16 * MIB)
    database = reopen(max_bytes=16 * MIB)
    finish(database.maintain(NOW))
    database.answer(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    assert path.stat().st_size <= 16 * MIB - ASIDE_BYTES
    assert 20_000 < operations(database) < 120_000


def test_more_than_there_is_room_for(reopen):
    """A batch that cannot fit raises, and what comes after is written."""
    database = reopen(max_bytes=ASIDE_BYTES + MIB)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        database.write(Batch(spans(0, 30_000)), NOW)
    database.write(Batch(spans(0, 100)), NOW)
    assert 100 == operations(database)


def test_a_long_question(path):
    """An answer that takes too long is left, and the next question is answered."""
    ticks = iter(range(10**9))
    database = Database(path, detail=1, aggregate=1, max_bytes=64 * MIB, monotonic=lambda: float(next(ticks)))
    database.open(NOW)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(TimeoutError, match="ask for less"):
        database.answer(lambda connection: connection.execute(endless).fetchone())
    assert 0 == operations(database)
    database.close()
    database.close()
