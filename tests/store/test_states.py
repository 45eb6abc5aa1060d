import os
import sqlite3

import pytest
from store.past import NOW, count

from otel_latency.store.states import PART_BYTES, read, write

LARGE = os.urandom(2 * PART_BYTES + 5)


@pytest.mark.parametrize("state", [b"", b"x", LARGE], ids=["empty", "small", "of several parts"])
def test_the_last_one_is_kept(connection, state):
    """What was written last under a name comes back, and takes the place of what was before."""
    write(connection, "predictor", b"before" + LARGE, NOW)
    write(connection, "other", b"theirs", NOW)
    write(connection, "predictor", state, NOW + 1)
    assert (state, b"theirs", None) == tuple(read(connection, name) for name in ("predictor", "other", "nobody"))
    assert 1 + 1 + len(state) // PART_BYTES == count(connection, "states")


@pytest.mark.parametrize("seconds", [0, -3600])
def test_the_clock_stands_still(connection, seconds):
    """or goes back: the last one written holds."""
    for number, state in enumerate((b"1", b"2", b"3")):
        write(connection, "predictor", state, NOW + seconds * number)
    assert b"3" == read(connection, "predictor")


SPOILT = {
    "a part was lost": "DELETE FROM states WHERE saved > 1e10 AND part = 1",
    "the last part was never written": "DELETE FROM states WHERE saved > 1e10 AND part = parts - 1",
    "a part was damaged": "UPDATE states SET data = zeroblob(length(data)) WHERE saved > 1e10 AND part = 1",
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_state_in_pieces(connection, spoil):
    """is none: the one before holds, where it is still there."""
    write(connection, "predictor", b"before", NOW)
    kept = connection.execute("SELECT name, saved, part, parts, data FROM states").fetchone()
    write(connection, "predictor", LARGE, 2e10)
    connection.execute("INSERT INTO states (name, saved, part, parts, data) VALUES (?, ?, ?, ?, ?)", kept)
    connection.execute(spoil)
    assert b"before" == read(connection, "predictor")
    connection.execute("DELETE FROM states WHERE saved < 1e10")
    assert read(connection, "predictor") is None


def test_interrupted(connection):
    """While a new one cannot be written the one before holds."""
    write(connection, "predictor", b"before", NOW)
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON states WHEN new.part = 1 BEGIN SELECT raise(ABORT, 'full'); END"
    )
    with pytest.raises(sqlite3.Error):
        write(connection, "predictor", LARGE, NOW + 1)
    assert b"before" == read(connection, "predictor")
    write(connection, "predictor", b"after", NOW + 2)
    assert (b"after", 1) == (read(connection, "predictor"), count(connection, "states"))
