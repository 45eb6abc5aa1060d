import random
from itertools import chain
from typing import NamedTuple

import pytest
from store.past import LLM, NAME, NOW, TTS, count, finish, minute, write

from otel_latency.sketch import Sketch
from otel_latency.store.windows import (
    LATE,
    MINUTE,
    PER_QUARTER,
    QUARTER,
    SERIES_PER_STEP,
    Harvest,
    Range,
    SeriesIds,
    compact,
    compacted,
    merged,
    read,
    set_progress,
)

SLOT = int(NOW) // MINUTE
SETTLED = NOW + QUARTER + LATE


def quarters(connection):
    return {
        (slot, series): read(data).count
        for slot, series, data in connection.execute("SELECT slot, series, data FROM quarters ORDER BY slot, series")
    }


def test_range():
    """A gauge's range merges, and comes back as it was."""
    whole = Range.of([1.0, 3.0])
    whole.merge(Range.of([-2.0]))
    twin = read(whole.to_bytes())
    assert (3, 2.0, -2.0, 3.0) == (twin.count, twin.sum, twin.minimum, twin.maximum)
    with pytest.raises(ValueError, match="no range"):
        read(b"r")


def test_merged_passes_over_what_is_no_window():
    """Bytes of a damaged row, or a window of another kind, do not cost the rest."""
    rows = [b"", Sketch([1.0]).to_bytes(), b"b123", Range.of([5.0]).to_bytes(), Sketch([2.0]).to_bytes()]
    assert [1.0, 2.0] == list(merged(rows).values)
    assert merged([b"x"]) is None


def test_a_minute_written_again(connection):
    """takes the place of what this run wrote of it, and stands beside what another did."""
    write(connection, [minute(SLOT, [1.0])], run=1)
    write(connection, [minute(SLOT, [1.0, 2.0])], run=1)
    write(connection, [minute(SLOT, [3.0])], run=2)
    rows = connection.execute("SELECT data FROM minutes ORDER BY run")
    assert [[1.0, 2.0], [3.0]] == [list(read(data).values) for (data,) in rows]


def test_ids(connection):
    """A series has one id, whatever the order of its labels and whoever asks, also after everything was forgotten."""
    ids, others = SeriesIds(), SeriesIds()
    first = ids.find(connection, NAME, LLM)
    ids.forget()
    assert [first] * 3 == [
        one.find(connection, NAME, labels) for one, labels in [(ids, LLM), (others, LLM), (ids, LLM[::-1])]
    ]
    assert first != ids.find(connection, NAME, TTS)


def test_quarters_are_merged_from_minutes(connection):
    """A quarter is the merge of its minutes over all runs: the same as one sketch of all values."""
    rng = random.Random(3)
    values = [[rng.lognormvariate(0, 1) for _ in range(60)] for _ in range(PER_QUARTER)]
    write(connection, [minute(SLOT + place, part) for place, part in enumerate(values)])
    write(connection, [minute(SLOT + PER_QUARTER, [9.0])])
    write(connection, [minute(SLOT, [7.0] * 20, TTS)], run=1)
    write(connection, [minute(SLOT, [8.0] * 30, TTS)], run=2)
    finish(compact(connection, SETTLED))
    rows = dict(connection.execute("SELECT series, data FROM quarters"))
    whole = Sketch([value for part in values for value in part])
    assert whole.bucket_counts() == read(rows[1]).bucket_counts()
    assert (900, 50) == (read(rows[1]).count, read(rows[2]).count)


def test_a_quarter_waits_for_what_is_late(connection):
    """It is merged once, `LATE` seconds after its end, and not again."""
    write(connection, [minute(SLOT, [1.0])])
    assert [0, 0] == [finish(compact(connection, now)) for now in (NOW, SETTLED - 1)]
    finish(compact(connection, SETTLED))
    assert {(SLOT // PER_QUARTER, 1): 1} == quarters(connection)
    connection.execute("DELETE FROM quarters")
    finish(compact(connection, SETTLED + 100))
    assert {} == quarters(connection)


def test_steps_can_be_interrupted(connection):
    """Many series are merged in many short steps; a quarter that was left in the middle is done anew, all the same."""
    labels = [(("stage", f"{number:03}"),) for number in range(3 * SERIES_PER_STEP)]
    write(connection, [minute(SLOT, [1.0, 2.0], one) for one in labels])
    steps = compact(connection, SETTLED)
    next(steps)
    steps.close()
    assert SERIES_PER_STEP == count(connection, "quarters")
    assert 3 < finish(compact(connection, SETTLED))
    assert {2} == set(quarters(connection).values())
    assert 3 * SERIES_PER_STEP == count(connection, "quarters")


def test_after_a_long_pause(connection):
    """Minutes of before are merged though the agent was off for weeks, and the gap costs nothing."""
    write(connection, [minute(SLOT, [1.0]), minute(SLOT + 60 * 24 * 30, [1.0])])
    assert 10 > finish(compact(connection, NOW + 86400 * 30 + QUARTER + LATE))
    assert 2 == count(connection, "quarters")


def test_a_clock_that_went_back(connection):
    """What was merged up to a time to come is merged anew from the present on."""
    set_progress(connection, "compacted", SLOT // PER_QUARTER + 100)
    finish(compact(connection, NOW + LATE))
    assert SLOT // PER_QUARTER == compacted(connection)
    write(connection, [minute(SLOT, [1.0])])
    finish(compact(connection, SETTLED))
    assert 1 == count(connection, "quarters")


def test_harvest():
    """A minute is taken when it is over, again when it has grown within the next minutes, and then no more."""
    past = {}
    harvest = Harvest(lambda slot: [(NAME, LLM, past[slot])] if slot in past else [])
    past[SLOT] = Sketch([1.0])
    assert [] == harvest.tick(NOW + 59)
    assert [(SLOT, 1)] == [(one.slot, one.window.count) for one in harvest.tick(NOW + 60)]
    assert [] == harvest.tick(NOW + 61)
    past[SLOT].add(2.0)
    assert [(SLOT, 2)] == [(one.slot, one.window.count) for one in harvest.tick(NOW + 60 * (1 + Harvest.AGAIN))]
    past[SLOT].add(3.0)
    assert [] == harvest.tick(NOW + 60 * (2 + Harvest.AGAIN))


def test_harvest_of_what_is_forgotten():
    """A window that has lost values since it was taken stays as it was."""
    past = {SLOT: Range.of([1.0, 2.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past.get(slot))])
    assert [2] == [one.window.count for one in harvest.tick(NOW + 60)]
    past[SLOT] = Range.of([2.0])
    assert [] == harvest.tick(NOW + 120)


def test_harvest_looks_at_some_series_at_a_time():
    """Those that saw nothing count as well: to look at them takes time."""
    looked = []

    def minutes(slot):
        for number in range(10 * Harvest.PER_TICK):
            looked.append(number)
            yield NAME, (("stage", str(number)),), None

    assert ([], Harvest.PER_TICK) == (Harvest(minutes).tick(NOW + 60), len(looked))


class Gauge(NamedTuple):
    """As another package may count."""

    count: int
    sum: float
    minimum: float
    maximum: float


def test_harvest_of_gauges():
    """Whatever tells count, sum, minimum and maximum is kept as a range, from several sources as well."""
    sources = [
        lambda slot: [(NAME, LLM, Sketch([1.0])), (NAME, TTS, None)],
        lambda slot: [("cpu_ratio", (), Gauge(2, 0.5, 0.1, 0.4))],
    ]
    taken = Harvest(lambda slot: chain(*(each(slot) for each in sources)) if slot == SLOT else ()).tick(NOW + 60)
    assert [NAME, "cpu_ratio"] == [one.name for one in taken]
    (shown,) = (read(one.window.to_bytes()) for one in taken[1:])
    assert (2, 0.5, 0.1, 0.4) == (shown.count, shown.sum, shown.minimum, shown.maximum)


def test_harvest_copies():
    """What was taken does not change any more."""
    window = Sketch([1.0])
    (taken,) = Harvest(lambda slot: [(NAME, LLM, window)] if slot == SLOT else []).tick(NOW + 60)
    window.add(2.0)
    assert 1 == taken.window.count


def test_harvest_is_spread():
    """Of many series some are taken at each tick, each of them once."""
    series = [(NAME, (("stage", str(number)),), Sketch([1.0])) for number in range(Harvest.PER_TICK + 10)]
    harvest = Harvest(lambda slot: series if slot == SLOT else [])
    taken = [harvest.tick(NOW + 60 + tick / 4) for tick in range(3)]
    assert [Harvest.PER_TICK, 10, 0] == [len(some) for some in taken]
    assert len(series) == len({one.labels for some in taken for one in some})


def test_harvest_of_the_rest():
    """At the end the running minute is taken as well, and nothing twice."""
    past = {SLOT: Sketch([1.0]), SLOT + 1: Sketch([2.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past[slot])] if slot in past else [])
    harvest.tick(NOW + 70)
    assert [SLOT + 1] == [one.slot for one in harvest.rest(NOW + 70)]
