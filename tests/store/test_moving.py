import sqlite3

import pytest
from store.past import (
    CALL,
    LLM,
    NAME,
    NOW,
    TTS,
    Minute,
    count,
    finish,
    minute,
    span,
    turn,
    write,
    write_spans,
    write_turns,
)

from otel_latency.records import Alert
from otel_latency.sketch import Sketch
from otel_latency.store import alerts, counters, operations, states
from otel_latency.store.lines import history
from otel_latency.store.moving import move
from otel_latency.store.operations import Filter
from otel_latency.store.schema import TABLES, open_file
from otel_latency.store.selector import Selector
from otel_latency.store.sessions import sessions
from otel_latency.store.turns import newest
from otel_latency.store.windows import LATE, PER_QUARTER, QUARTER, compact, set_progress

SLOT = int(NOW) // 60


@pytest.fixture
def path(tmp_path):
    """A file in which something was kept before, its ids other than those in memory."""
    path = tmp_path / "history.db"
    file = open_file(path)
    write(file, [minute(SLOT - 60, [1.0], TTS), minute(SLOT - 59, [1.0], LLM)])
    write_spans(file, [span(end=NOW - 3600, session="old"), span(CALL, end=NOW - 3599, session="s1")])
    write_turns(file, turn(NOW - 3600, number=1))
    counters.insert(file, [("c_total", LLM, 100.0)], NOW - 3600)
    states.write(file, "predictor", b"old", NOW - 3600)
    set_progress(file, "run", 4)
    file.close()
    return path


def moved(memory, path):
    move(memory, path)
    return open_file(path)


def test_everything_moves(connection, path):
    """Whatever is in memory is on disk then, as it was, beside what was there."""
    write(connection, [minute(SLOT, [2.0], LLM), minute(SLOT, [3.0], (("new", "one"),))])
    connection.execute("INSERT INTO quarters (slot, series, data) VALUES (7, 2, x'00')")
    write_spans(connection, [span(end=NOW, session="s1"), span(end=NOW)])
    write_turns(connection, turn(NOW, number=2, session="s1"))
    alerts.insert(connection, [Alert({"a": "b"}, {}, NOW, NOW, True, 1.0)])
    counters.insert(connection, [("c_total", LLM, 3.0)], NOW)
    states.write(connection, "predictor", b"new", NOW)
    file = moved(connection, path)
    expected = {"series": 3, "minutes": 4, "quarters": 1, "operations": 4, "turns": 2, "alerts": 1, "counters": 1}
    assert expected == {table: count(file, table) for table in expected}
    named = [one["session"] for one in operations.operations(file, Filter())["operations"]]
    assert [None, "s1", "s1", "old"] == named
    assert [turn(NOW, number=2, session="s1"), turn(NOW - 3600, number=1)] == [one.turn for one in newest(file)]
    (session,) = sessions(file)["sessions"]
    assert ("s1", 1, 512, 0.35) == tuple(
        session[name] for name in ("session", "llm_calls", "input_tokens", "mean_first_token_seconds")
    )
    (line,) = history(file, Selector(NAME, (("stage", "llm", True),)), NOW - 3600, NOW + 60, 60)["series"]
    assert [(NOW - 3540, 1.0), (NOW, 2.0)] == [(point["start"], point["max"]) for point in line["points"]]
    assert ({("c_total", LLM): 3.0}, b"new") == (counters.read(file), states.read(file, "predictor"))
    file.close()


def test_minutes_belong_to_the_next_run(connection, path):
    """What the run that now begins on disk writes of a minute is added to what it wrote in memory."""
    write(connection, [minute(SLOT, [1.0])])
    file = moved(connection, path)
    write(file, [minute(SLOT, [2.0])], run=5)
    assert [2] == [
        Sketch.from_bytes(data).count for (data,) in file.execute("SELECT data FROM minutes WHERE slot = ?", (SLOT,))
    ]
    file.close()


@pytest.mark.parametrize("is_kept", [True, False], ids=["with its minutes", "whose minutes are gone"])
@pytest.mark.parametrize("merged_there", [True, False], ids=["merged on disk", "not merged on disk"])
@pytest.mark.parametrize("merged_here", [True, False], ids=["merged in memory", "not merged in memory"])
def test_quarters(connection, path, merged_here, merged_there, is_kept):
    """A quarter of which both hold minutes has all of them, in whichever of the two it has been merged."""
    file = open_file(path)
    write(file, [minute(SLOT, [1.0]), minute(SLOT, [8.0], TTS)])
    if merged_there:
        finish(compact(file, NOW + QUARTER + LATE))
    write(connection, [minute(SLOT + 1, [2.0, 3.0]), minute(SLOT + PER_QUARTER, [4.0])])
    if merged_here:
        finish(compact(connection, NOW + QUARTER + LATE))
    for one, is_merged in ((file, merged_there), (connection, merged_here)):
        if is_merged and not is_kept:
            one.execute("DELETE FROM minutes WHERE slot < ?", (SLOT + PER_QUARTER,))
    file.close()
    file = moved(connection, path)
    for late in (minute(SLOT + 2, [5.0]), minute(SLOT + 2, [9.0], TTS)):
        write(file, [late], run=5)
        finish(compact(file, NOW + QUARTER + LATE))
    counts = [
        Sketch.from_bytes(data).count
        for (data,) in file.execute("SELECT data FROM quarters WHERE slot = ? ORDER BY series", (SLOT // PER_QUARTER,))
    ]
    assert [2, 4] == counts
    file.close()


def test_nothing_moves(connection, path):
    """An empty memory leaves the file as it was."""
    file = open_file(path)
    before = {table: file.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    file.close()
    file = moved(connection, path)
    assert before == {table: file.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    file.close()


def test_all_or_nothing(connection, path):
    """Where one part cannot be moved nothing is, and memory keeps everything."""
    file = open_file(path)
    file.execute("CREATE TRIGGER full BEFORE INSERT ON operations BEGIN SELECT raise(ABORT, 'full'); END")
    file.close()
    write(connection, [Minute(NAME, LLM, SLOT, Sketch([1.0]))])
    write_spans(connection, [span()])
    for _ in range(2):
        with pytest.raises(sqlite3.Error):
            move(connection, path)
    file = open_file(path)
    assert (2, 2) == (count(file, "minutes"), count(file, "operations"))
    assert (1, 1) == (count(connection, "minutes"), count(connection, "operations"))
    file.close()
