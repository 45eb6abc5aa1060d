import random
from math import ceil

import pytest
from store.past import LLM, NAME, NOW, TTS, finish, minute, write

from otel_latency.sketch import Sketch
from otel_latency.store.lines import MAX_POINTS, MAX_SERIES, history
from otel_latency.store.selector import Selector, parse
from otel_latency.store.windows import LATE, MINUTE, PER_QUARTER, QUARTER, Minute, Range, compact

SLOT = int(NOW) // MINUTE
ONE = Selector(NAME, (("stage", "llm", True),))
BOUND = 0.0055


def points(connection, since, until, step=None, which=ONE):
    (line,) = history(connection, which, since, until, step)["series"]
    return line["points"]


def test_a_line(connection):
    """Each point covers a step, and has everything; a step without observations has no point."""
    write(connection, [minute(SLOT, [1.0, 2.0]), minute(SLOT + 1, [3.0]), minute(SLOT + 4, [4.0])])
    percentiles = {"p50": 2.0, "p90": 3.0, "p95": 3.0, "p99": 3.0}
    first = {"start": NOW, "seconds": 120, "count": 3, "sum": 6.0, "mean": 2.0, "min": 1.0, "max": 3.0, **percentiles}
    found = points(connection, NOW, NOW + 600, 120)
    assert first == found[0]
    assert [(NOW, 3), (NOW + 240, 1)] == [(one["start"], one["count"]) for one in found]


def test_series_are_chosen_by_their_labels(connection):
    """A selector may mean several series or none."""
    write(connection, [minute(SLOT, [1.0], LLM), minute(SLOT, [2.0], TTS), minute(SLOT, [3.0], name="other")])
    found = history(connection, parse(f'{NAME}{{service="bot"}}'), NOW, NOW + 60)["series"]
    assert [dict(LLM), dict(TTS)] == [one["labels"] for one in found]
    assert {"series": []} == history(connection, parse(f'{NAME}{{stage="stt"}}'), NOW, NOW + 60)
    assert {"series": []} == history(connection, ONE, NOW - 7200, NOW - 3600)


def test_runs_are_merged(connection):
    """A minute in which the agent was started anew is one window."""
    for run in (1, 2):
        write(connection, [minute(SLOT, [float(run)])], run)
    (point,) = points(connection, NOW, NOW + 60)
    assert (2, 1.0, 2.0) == (point["count"], point["min"], point["max"])


def test_a_gauge_has_no_percentiles(connection):
    """Of a resource its range is known."""
    write(connection, [Minute(NAME, LLM, SLOT + n, Range.of([n + 0.5, n + 1.5])) for n in range(2)])
    (point,) = points(connection, NOW, NOW + 120, 120)
    assert (4, 1.5, 0.5, 2.5) == tuple(point[key] for key in ("count", "mean", "min", "max"))
    assert {None} == {point[key] for key in ("p50", "p90", "p95", "p99")}


def test_percentiles_of_any_window(connection):
    """They are within the sketch's bound of the exact ones, from minutes and from quarters: never an average."""
    rng = random.Random(1)
    minutes = [[rng.lognormvariate(-1, 1 + place % 3) for _ in range(70)] for place in range(60)]
    write(connection, [minute(SLOT + place, values) for place, values in enumerate(minutes)])
    finish(compact(connection, NOW + 2 * QUARTER + LATE))
    for is_old in (False, True):
        if is_old:
            connection.execute("DELETE FROM minutes WHERE slot < ?", (SLOT + 2 * PER_QUARTER,))
        for first, last in ((0, 60), (15, 60), (15, 30), (0, 45)):
            (point,) = points(connection, NOW + first * 60, NOW + last * 60, (last - first) * 60)
            values = sorted(value for part in minutes[first:last] for value in part)
            for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
                assert values[ceil(q * len(values)) - 1] == pytest.approx(point[name], rel=BOUND)


def aged(connection):
    """Three quarters of minutes, of which the first is known as a quarter only and the last not merged yet."""
    write(connection, [minute(SLOT + place, [1.0]) for place in range(3 * PER_QUARTER)])
    finish(compact(connection, NOW + 2 * QUARTER + LATE))
    connection.execute("DELETE FROM minutes WHERE slot < ?", (SLOT + PER_QUARTER,))


STEPS = {
    "by the minute while there are minutes": (QUARTER, 60, [(QUARTER + 60 * place, 60, 1) for place in range(30)]),
    "quarters before": (0, 60, [(0, 900, 15), (900, 900, 15), (1800, 900, 15)]),
    "a step of several quarters": (0, 1000, [(0, 1800, 30), (1800, 1800, 15)]),
    "from within a quarter": (500, 900, [(0, 900, 15), (900, 900, 15), (1800, 900, 15)]),
    "no step asked for": (QUARTER, None, [(QUARTER + 60 * place, 60, 1) for place in range(30)]),
}


@pytest.mark.parametrize(("since", "step", "expected"), STEPS.values(), ids=STEPS)
def test_steps(connection, since, step, expected):
    """Minutes where they are kept, else quarters and the minutes that are not merged yet; nothing is counted twice."""
    aged(connection)
    found = points(connection, NOW + since, NOW + 3 * QUARTER, step)
    assert expected == [(one["start"] - NOW, one["seconds"], one["count"]) for one in found]


def test_a_young_history(connection):
    """A line that begins before anything is known is made of minutes all the same."""
    write(connection, [minute(SLOT + place, [1.0]) for place in range(2 * PER_QUARTER)])
    finish(compact(connection, NOW + QUARTER + LATE))
    assert 30 == len(points(connection, NOW - 7200, NOW + 1800, 60))


def test_what_comes_for_quarters_whose_minutes_are_gone(connection):
    """is in them alone: a line of minutes would tell of nothing else. Other series have their own."""
    aged(connection)
    write(connection, [minute(SLOT + 3, [1.0]), minute(SLOT + 3, [1.0], TTS)])
    assert [(0, 16)] == [(one["start"] - NOW, one["count"]) for one in points(connection, NOW, NOW + QUARTER, 60)]
    found = points(connection, NOW, NOW + QUARTER, 60, Selector(NAME, (("stage", "tts", True),)))
    assert [(180, 1)] == [(one["start"] - NOW, one["count"]) for one in found]


def test_minutes_that_came_late(connection):
    """The oldest minute is the oldest, in whatever order they were written: they begin the line, not a quarter."""
    aged(connection)
    late = [minute(SLOT + place, [1.0], TTS) for place in reversed(range(PER_QUARTER, 2 * PER_QUARTER))]
    connection.execute("DELETE FROM minutes")
    write(connection, late)
    finish(compact(connection, NOW + 3 * QUARTER + LATE))
    found = points(connection, NOW + QUARTER, NOW + 2 * QUARTER, 60, Selector(NAME, (("stage", "tts", True),)))
    assert [60] * PER_QUARTER == [one["seconds"] for one in found]


def test_after_a_long_silence(connection):
    """Quarters of long ago do not make a line coarse that begins after them, before anything new is known."""
    aged(connection)
    connection.execute("DELETE FROM minutes")
    later = SLOT + 10 * PER_QUARTER
    write(connection, [minute(later + place, [1.0]) for place in range(3)])
    found = points(connection, (later - 10) * MINUTE, (later + 3) * MINUTE, 60)
    assert [60] * 3 == [one["seconds"] for one in found]
    assert [900] * 3 == [one["seconds"] for one in points(connection, NOW, (later + 3) * MINUTE, 60)]


def test_an_answer_is_bounded(connection):
    """So many points of so many series are refused with what to do; where no step is asked for there are fewer."""
    write(connection, [minute(SLOT, [1.0], (("stage", str(number)),)) for number in range(MAX_SERIES)])
    with pytest.raises(ValueError, match=f"201 points of each of {MAX_SERIES} series are more than 100000: ask for"):
        history(connection, Selector(NAME), NOW, NOW + 201 * 60, 60)
    assert MAX_SERIES == len(history(connection, Selector(NAME), NOW, NOW + 200 * 60, 60)["series"])
    assert MAX_SERIES == len(history(connection, Selector(NAME), NOW, NOW + 300 * 60)["series"])


def test_too_much(connection):
    """What would be too many points, or no time, is refused with what to do."""
    write(connection, [minute(SLOT, [1.0])])
    with pytest.raises(ValueError, match=f"more than {MAX_POINTS} points: ask for a longer step"):
        history(connection, ONE, NOW, NOW + 60 * MAX_POINTS + 60, 60)
    for since, until in ((NOW, NOW), (NOW, NOW - 1), (-1, NOW), (float("nan"), NOW), (NOW, float("inf"))):
        with pytest.raises(ValueError, match="from before to"):
            history(connection, ONE, since, until)


def test_too_many_series(connection):
    """A selector that means very many is refused."""
    write(connection, [minute(SLOT, [1.0], (("stage", str(number)),)) for number in range(501)])
    with pytest.raises(ValueError, match="501 series match"):
        history(connection, Selector(NAME), NOW, NOW + 60)


def test_a_damaged_window(connection):
    """costs itself, not the line."""
    write(connection, [minute(SLOT, [1.0]), minute(SLOT + 1, [2.0])])
    connection.execute("UPDATE minutes SET data = x'00' WHERE slot = ?", (SLOT,))
    (point,) = points(connection, NOW, NOW + 120, 60)
    assert Sketch([2.0]).maximum == point["max"]
