from collections import Counter
from itertools import pairwise

import pytest
from store.past import LLM, NOW, TTS, count, finish, minute, span, turn, write, write_spans, write_turns

from otel_latency.records import Alert
from otel_latency.store import alerts, counters, states
from otel_latency.store.retention import (
    CROWDED,
    MAX_STEP,
    ROOMY,
    ROWS,
    delete_oldest,
    expire,
    forget_series,
    shrink,
    used_bytes,
)
from otel_latency.store.windows import MINUTE, QUARTER

DETAIL, AGGREGATE = 3600.0, 86400.0
SLOT = int(NOW) // MINUTE


def ages(connection):
    """Seconds before NOW of every operation, newest first."""
    return [NOW - ended for (ended,) in connection.execute("SELECT ended FROM operations ORDER BY ended DESC")]


def test_each_goes_in_its_time(connection):
    """Operations and minutes after `detail`, quarters, alerts and counters after `aggregate`."""
    for age in (0, DETAIL, DETAIL + 120, AGGREGATE, AGGREGATE + 2 * QUARTER):
        write_spans(connection, [span(end=NOW - age)])
        write(connection, [minute(SLOT - int(age) // MINUTE, [1.0])])
        slot = (int(NOW) - int(age)) // QUARTER
        connection.execute("INSERT INTO quarters (slot, series, data) VALUES (?, 1, x'')", (slot,))
        alerts.insert(connection, [Alert({"a": "b"}, {}, NOW - age, NOW, True, 1.0)])
        counters.insert(connection, [("c_total", (("age", str(age)),), 1.0)], NOW - age)
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert [0, DETAIL] == ages(connection)
    assert (2, 4, 4, 4) == tuple(count(connection, table) for table in ("minutes", "quarters", "alerts", "counters"))


def test_steps_are_short(connection):
    """Much that is old goes in many steps, each of a few hundred rows."""
    write_spans(connection, [span(end=NOW - DETAIL - 1)] * (3 * ROWS + 1))
    write(connection, [minute(SLOT - 61 - number, [1.0]) for number in range(2 * ROWS)])
    left = []
    for _ in expire(connection, NOW, DETAIL, AGGREGATE):
        left.append(count(connection, "operations") + count(connection, "minutes"))
    assert 0 == left[-1]
    assert ROWS >= max(before - after for before, after in pairwise(left))


def test_a_clock_ahead_costs_little(connection):
    """When the clock jumps a day ahead, what is young stays: the horizon follows by ten minutes each time."""
    write_spans(connection, [span(end=NOW - age) for age in (0, DETAIL - MAX_STEP - 1, DETAIL - 1)])
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    finish(expire(connection, NOW + 86400, DETAIL, AGGREGATE))
    assert [0, DETAIL - MAX_STEP - 1] == ages(connection)
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    finish(expire(connection, NOW + 86400, DETAIL, AGGREGATE))
    assert 2 == len(ages(connection))


@pytest.mark.parametrize("behind", [3600, 86400, 3 * 86400, NOW], ids=["an hour", "a day", "three days", "1970"])
def test_a_clock_behind_costs_nothing(connection, behind):
    """When the clock is set back, for some minutes, what was written before is not taken for the future."""
    write_spans(connection, [span(end=NOW - age) for age in (0, DETAIL - 1)])
    write(connection, [minute(SLOT, [1.0])])
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    for passed in range(5):
        finish(expire(connection, NOW - behind + 60 * passed, DETAIL, AGGREGATE))
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert ([0, DETAIL - 1], 1) == (ages(connection), count(connection, "minutes"))


def test_minutes_go_by_whole_quarters(connection):
    """So a line that cannot be told by minutes finds all of it in quarters."""
    write(connection, [minute(SLOT - 60 - place, [1.0]) for place in range(1, 31)])
    left = []
    for later in (0, 60, QUARTER - 60, QUARTER, 2 * QUARTER):
        finish(expire(connection, NOW - QUARTER + later, DETAIL, AGGREGATE))
        left.append(count(connection, "minutes"))
    assert [30 - 15, 15, 15, 0, 0] == left


def test_after_a_long_pause(connection):
    """What is written after days without an agent stays, though the horizon has not followed yet."""
    finish(expire(connection, NOW - 10 * 86400, DETAIL, AGGREGATE))
    write_spans(connection, [span(end=NOW)])
    write(connection, [minute(SLOT, [1.0])])
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert ([0], 1) == (ages(connection), count(connection, "minutes"))


def test_minutes_go_in_their_time_whenever_they_came(connection):
    """One that is old does not stay behind others that are not."""
    write(
        connection,
        [minute(SLOT, [1.0]), minute(SLOT - 61, [1.0]), minute(SLOT, [1.0], TTS), minute(SLOT - 62, [1.0], TTS)],
    )
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert [(SLOT,), (SLOT,)] == connection.execute("SELECT slot FROM minutes").fetchall()


def test_what_lies_far_ahead_goes(connection):
    """Rows that a wrong clock left in the far future do not stay until then."""
    write_spans(connection, [span(end=NOW + 10 * 86400)], NOW + 10 * 86400)
    write(connection, [minute(SLOT + 10 * 1440, [1.0]), minute(SLOT, [1.0])])
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert (0, 1) == (count(connection, "operations"), count(connection, "minutes"))


def test_the_oldest_go_for_want_of_room(connection):
    """Operations first, from the oldest on, counted, until there is room; windows stay."""
    write_spans(connection, [span(end=NOW - age) for age in range(8000, 0, -1)])
    write(connection, [minute(SLOT, [1.0])])
    room, dropped = int(used_bytes(connection) / CROWDED) - 1, Counter()
    finish(shrink(connection, room, dropped))
    assert used_bytes(connection) <= ROOMY * room
    assert {"operations": 8000 - count(connection, "operations")} == dropped
    assert [*range(1, count(connection, "operations") + 1)] == ages(connection)
    assert 1 == count(connection, "minutes")
    assert 0 == finish(shrink(connection, room, dropped))


def test_turns_go_in_their_time(connection):
    """With the operations, after `detail`; states after `aggregate`."""
    write_turns(connection, turn(NOW - DETAIL - 1, number=1), turn(NOW - DETAIL, number=2), turn(NOW, number=3))
    for age in (0, AGGREGATE, AGGREGATE + 1):
        states.write(connection, f"of {age}", b"", NOW - age)
    finish(expire(connection, NOW, DETAIL, AGGREGATE))
    assert (2, 2) == (count(connection, "turns"), count(connection, "states"))


def test_operations_and_turns_go_together(connection):
    """For want of room those go that reach back further, so that both begin at about the same time."""
    write_spans(connection, [span(end=NOW - age) for age in range(5000, 0, -1)])
    write_turns(connection, *(turn(NOW - age, number=age) for age in range(4000, 0, -4)))
    dropped = Counter()
    for _ in range(20):
        if count(connection, "turns") > 200:
            delete_oldest(connection, 100, dropped)
    oldest = [connection.execute(f"SELECT min(ended) FROM {one}").fetchone()[0] for one in ("operations", "turns")]
    assert abs(oldest[0] - oldest[1]) <= 400
    assert {"operations": 5000 - count(connection, "operations"), "turns": 1000 - count(connection, "turns")} == {
        "turns": 0,
        **dropped,
    }


def test_then_windows_go(connection):
    """Minutes go when no operation is left, then quarters, then alerts; an end is reached."""
    write(connection, [minute(SLOT + number, [1.0]) for number in range(3)])
    connection.execute("INSERT INTO quarters (slot, series, data) VALUES (1, 1, x'')")
    alerts.insert(connection, [Alert({"a": "b"}, {}, NOW, NOW, True, 1.0)])
    dropped = Counter()
    assert [2, 1, 1, 1, 0] == [delete_oldest(connection, 2, dropped) for _ in range(5)]
    assert {"minutes": 3, "quarters": 1, "alerts": 1} == dropped
    finish(shrink(connection, 0, dropped))


def test_series_without_windows(connection):
    """are forgotten, the others kept."""
    write(connection, [minute(SLOT, [1.0]), minute(SLOT, [1.0], (("stage", "gone"),))])
    connection.execute("DELETE FROM minutes WHERE series = 2")
    assert 1 == forget_series(connection)
    assert [str(dict(LLM)).replace("'", '"')] == [
        labels for (labels,) in connection.execute("SELECT labels FROM series")
    ]
