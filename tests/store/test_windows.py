import random
from collections import Counter
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
    Minute,
    Range,
    SeriesIds,
    added,
    added_up,
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
    """is added to what this run wrote of it, and stands beside what another did."""
    write(connection, [minute(SLOT, [1.0])], run=1)
    write(connection, [minute(SLOT, [2.0])], run=1)
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
    """It is merged once, `LATE` seconds after its end, and not again, however often that is asked for."""
    write(connection, [minute(SLOT, [1.0])])
    assert [0, 0] == [finish(compact(connection, now)) for now in (NOW, SETTLED - 1)]
    finish(compact(connection, SETTLED))
    assert {(SLOT // PER_QUARTER, 1): 1} == quarters(connection)
    for later in (100, 86400, -QUARTER, 200):
        finish(compact(connection, SETTLED + later))
    assert {(SLOT // PER_QUARTER, 1): 1} == quarters(connection)


@pytest.mark.parametrize("is_kept", [True, False], ids=["with its minutes", "whose minutes are gone"])
def test_what_comes_for_a_merged_quarter(connection, is_kept):
    """is added to it: of a series that was in it, and of one that was not."""
    write(connection, [minute(SLOT, [1.0, 2.0])])
    finish(compact(connection, SETTLED))
    if not is_kept:
        connection.execute("DELETE FROM minutes")
    for _ in range(2):
        write(connection, [minute(SLOT, [3.0]), minute(SLOT + 1, [4.0], TTS), minute(SLOT + 1, [5.0])], run=2)
        finish(compact(connection, SETTLED))
    quarter = SLOT // PER_QUARTER
    assert {(quarter, 1): 6, (quarter, 2): 2} == quarters(connection)
    assert (4 if is_kept else 1) == count(connection, "minutes")


def test_what_comes_while_quarters_are_merged(connection):
    """For the one that is being merged, for one that was passed over, and for one that is next."""
    write(connection, [minute(SLOT, [1.0]), minute(SLOT + PER_QUARTER, [1.0])])
    for _ in compact(connection, SETTLED + QUARTER):
        write(connection, [minute(SLOT + place * PER_QUARTER, [2.0]) for place in (-1, 0, 1)])
    connection.execute("DELETE FROM minutes WHERE slot < ?", (SLOT + 2 * PER_QUARTER,))
    write(connection, [minute(SLOT + place * PER_QUARTER, [3.0]) for place in (-1, 0, 1)])
    steps = 4
    expected = {SLOT // PER_QUARTER + place: steps + 1 + (place >= 0) for place in (-1, 0, 1)}
    assert expected == {slot: found for (slot, _), found in quarters(connection).items()}


def test_a_clock_to_and_fro(connection):
    """Whenever quarters are merged, by whatever time, each holds all of its minutes, those that are gone as well."""
    rng, expected, series = random.Random(9), Counter(), {LLM: 1, TTS: 2}
    write(connection, [minute(SLOT, [], labels) for labels in series])
    for step in range(300):
        written = [minute(SLOT + rng.randrange(8 * PER_QUARTER), [1.0], rng.choice([LLM, TTS])) for _ in range(3)]
        expected.update((one.slot // PER_QUARTER, series[one.labels]) for one in written)
        write(connection, written, run=rng.randrange(3))
        if step % 7 == 0:
            finish(compact(connection, NOW + rng.choice([-86400, 0, 2 * QUARTER, 5 * QUARTER, 86400])))
        if step % 50 == 49:  # as too old, what is merged goes
            connection.execute(
                "DELETE FROM minutes AS one WHERE slot < ? AND EXISTS"
                f" (SELECT 1 FROM quarters WHERE series = one.series AND slot = one.slot / {PER_QUARTER})",
                (SLOT + rng.randrange(8 * PER_QUARTER),),
            )
    finish(compact(connection, NOW + 86400))
    assert expected == quarters(connection)


def test_added_passes_over_what_is_no_window():
    """What is new is kept beside a row that is damaged."""
    new = Sketch([1.0]).to_bytes()
    assert [new, new] == [added(b"b123", new), added(new, b"")]


def test_added_up():
    """One for each minute of each series, with everything."""
    waiting = [minute(1, [1.0]), Minute(NAME, TTS, 1, Range.of([1.0])), minute(2, [2.0])]
    waiting += [minute(1, [3.0]), Minute(NAME, TTS, 1, Range.of([5.0]))]
    found = [(one.labels, one.slot, one.window.count, one.window.maximum) for one in added_up(waiting)]
    assert [(LLM, 1, 2, 3.0), (TTS, 1, 2, 5.0), (LLM, 2, 1, 2.0)] == found


def test_steps_can_be_interrupted(connection):
    """Many series are merged in many short steps; a quarter that was left in the middle is finished, all the same."""
    labels = [(("stage", f"{number:03}"),) for number in range(3 * SERIES_PER_STEP)]
    write(connection, [minute(SLOT, [1.0, 2.0], one) for one in labels])
    steps = compact(connection, SETTLED)
    next(steps)
    steps.close()
    assert SERIES_PER_STEP == count(connection, "quarters")
    write(connection, [minute(SLOT + 1, [3.0], one) for one in labels])
    assert 2 < finish(compact(connection, SETTLED))
    assert {3} == set(quarters(connection).values())
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


def taken(minutes):
    return [(one.slot - SLOT, one.window.count, one.window.sum, one.window.maximum) for one in minutes]


def test_harvest():
    """A minute is taken when it is over, what is new in it within the next minutes, and then no more."""
    past = {SLOT: Range.of([1.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past[slot])] if slot in past else [])
    assert [] == harvest.tick(NOW + 59)
    assert [(0, 1, 1.0, 1.0)] == taken(harvest.tick(NOW + 60))
    assert [] == harvest.tick(NOW + 61)
    past[SLOT].merge(Range.of([4.0]))
    assert [(0, 1, 4.0, 4.0)] == taken(harvest.tick(NOW + 60 * (1 + Harvest.AGAIN)))
    past[SLOT].merge(Range.of([3.0]))
    assert [] == harvest.tick(NOW + 60 * (2 + Harvest.AGAIN))


def test_harvest_of_what_is_forgotten():
    """A window that has lost values since it was taken stays as it was."""
    past = {SLOT: Range.of([1.0, 2.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past.get(slot))])
    assert [2] == [one.window.count for one in harvest.tick(NOW + 60)]
    past[SLOT] = Range.of([2.0])
    assert [] == harvest.tick(NOW + 120)


def test_harvest_by_a_clock_that_jumps():
    """The minute that was running is taken, and what was taken is not taken again when the clock comes back."""
    past = {SLOT: Range.of([1.0]), SLOT + 1: Range.of([2.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past[slot])] if slot in past else [])
    assert [(0, 1, 1.0, 1.0)] == taken(harvest.tick(NOW + 60))
    assert [(1, 1, 2.0, 2.0)] == taken(harvest.tick(NOW + 300))
    assert [[], [], []] == [harvest.tick(NOW + seconds) for seconds in (61, 121, 181)]
    past[SLOT + 3] = Range.of([4.0])
    assert [(3, 1, 4.0, 4.0)] == taken(harvest.tick(NOW + 3600))


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
        lambda slot: [(NAME, LLM, Range.of([1.0])), (NAME, TTS, None)],
        lambda slot: [("cpu_ratio", (), Gauge(2, 0.5, 0.1, 0.4))],
    ]
    taken = Harvest(lambda slot: chain(*(each(slot) for each in sources)) if slot == SLOT else ()).tick(NOW + 60)
    assert [NAME, "cpu_ratio"] == [one.name for one in taken]
    (shown,) = (read(one.window.to_bytes()) for one in taken[1:])
    assert (2, 0.5, 0.1, 0.4) == (shown.count, shown.sum, shown.minimum, shown.maximum)


def test_harvest_copies():
    """What was taken does not change any more."""
    window = Range.of([1.0])
    (taken,) = Harvest(lambda slot: [(NAME, LLM, window)] if slot == SLOT else []).tick(NOW + 60)
    window.merge(Range.of([2.0]))
    assert 1 == taken.window.count


def test_harvest_is_spread():
    """Of many series some are taken at each tick, each of them once."""
    series = [(NAME, (("stage", str(number)),), Range.of([1.0])) for number in range(Harvest.PER_TICK + 10)]
    harvest = Harvest(lambda slot: series if slot == SLOT else [])
    taken = [harvest.tick(NOW + 60 + tick / 4) for tick in range(3)]
    assert [Harvest.PER_TICK, 10, 0] == [len(some) for some in taken]
    assert len(series) == len({one.labels for some in taken for one in some})


def test_harvest_of_the_rest():
    """At the end the running minute is taken as well, and nothing twice."""
    past = {SLOT: Range.of([1.0]), SLOT + 1: Range.of([2.0])}
    harvest = Harvest(lambda slot: [(NAME, LLM, past[slot])] if slot in past else [])
    harvest.tick(NOW + 70)
    assert [SLOT + 1] == [one.slot for one in harvest.rest(NOW + 70)]
