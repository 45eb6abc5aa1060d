"""The table of series: what it keeps, what it forgets, and what it finds."""

import math
import random
import sys

import pytest

from otel_latency.rules.promql.nodes import Matcher, MatchOp
from otel_latency.rules.series import Series, SeriesTable

X = (("__name__", "x"), ("a", "1"))
OTHER_X = (("__name__", "x"), ("a", "2"))
Y = (("__name__", "y"), ("a", "1"))
NAN = math.nan


def series_of(*values, keep_ms=sys.maxsize):
    """One sample each second."""
    series = Series(X, keep_ms)
    for place, value in enumerate(values):
        series.append(place * 1000, value)
    return series


def table(*labels, keep_ms=10_000):
    table = SeriesTable(lambda _: keep_ms)
    for each in labels:
        table.append(each, 0, 1.0)
    return table


def found(table, *matchers):
    return [series.labels for series in table.select(matchers)]


def name_is(name):
    return Matcher("__name__", MatchOp.EQUAL, name)


def test_samples_in_order():
    """Samples are kept as they came, times beside values."""
    series = series_of(1.0, NAN, 3.0)
    assert [0, 1000, 2000] == list(series.times)
    assert [1.0, 3.0] == [series.values[0], series.values[2]]
    assert math.isnan(series.values[1])


@pytest.mark.parametrize("at_ms", [1000, 999])
def test_late_sample_is_ignored(at_ms):
    """A sample that is not newer than the newest changes nothing."""
    series = series_of(1.0, 2.0)
    series.append(at_ms, 9.0)
    assert [1.0, 2.0] == list(series.values)


def test_sample_before_the_end_is_ignored():
    """What comes after an end but is older than it was overtaken, and is ignored."""
    series = series_of(1.0)
    series.end(2000)
    series.append(1500, 2.0)
    series.append(2500, 3.0)
    assert [1.0, 3.0] == list(series.values)


NEWEST = {
    "at its own time": (2000, -1, 2),
    "between two": (1999, -1, 1),
    "after the last": (9000, -1, 2),
    "before the first": (-1, -5000, -1),
    "too old": (9000, 2000, -1),
    "just new enough": (9000, 1999, 2),
}


@pytest.mark.parametrize(("at_ms", "after_ms", "place"), NEWEST.values(), ids=NEWEST)
def test_newest(at_ms, after_ms, place):
    """The newest sample up to a moment counts, unless it is at or before the bound."""
    assert place == series_of(1.0, 2.0, 3.0).newest(at_ms, after_ms)


def test_newest_of_nothing():
    """A series without samples has no newest one."""
    assert Series(X).newest(0, -1000) == -1


@pytest.mark.parametrize(("at_ms", "place"), [(1000, 1), (1499, 1), (1500, -1), (1999, -1), (2000, 2)])
def test_end_hides_what_came_before(at_ms, place):
    """From its end until its next sample a series has no current sample."""
    series = series_of(1.0, 2.0)
    series.end(1500)
    series.append(2000, 3.0)
    assert place == series.newest(at_ms, -1)


def test_end_not_newer_is_ignored():
    """An end at the time of a sample, or before, does not undo it."""
    series = series_of(1.0, 2.0)
    series.end(1000)
    assert series.newest(1000, -1) == 1


def falls(values, first, last):
    return [place for place in range(first + 1, last + 1) if values[place] < values[place - 1]]


def changes(values, first, last):
    pairs = ((place, values[place - 1], values[place]) for place in range(first + 1, last + 1))
    return [place for place, before, value in pairs if before != value and not (before != before and value != value)]


@pytest.mark.parametrize("seed", range(30))
def test_marks_while_the_series_moves_on(seed):
    """Resets and changes are those of a look at every pair, also while samples come and go."""
    source = random.Random(seed)
    series = Series(X, keep_ms=source.choice([3000, 20_000, sys.maxsize]))
    for at_ms in range(0, 60_000, 1000):
        series.append(at_ms, source.choice([0.0, 1.0, 2.0, NAN]))
        if source.random() < 0.4:
            first = source.randrange(len(series.times))
            last = source.randrange(first, len(series.times))
            assert falls(series.values, first, last) == list(series.resets(first, last))
            assert changes(series.values, first, last) == list(series.changes(first, last))


def test_series_forgets_what_is_too_old():
    """Samples and ends older than what is kept go, and the rest stays in place."""
    series = series_of(*map(float, range(10)), keep_ms=3000)
    series.end(9500)
    series.trim(10_000)
    assert [7000, 8000, 9000] == list(series.times)
    assert [9500] == series.ends
    series.trim(12_501)
    assert [] == list(series.times) == series.ends


def test_series_trims_itself():
    """While samples come in, no more than what is kept and an eighth of it stays."""
    series = series_of(*[0.0] * 1000, keep_ms=80_000)
    assert 81 <= len(series.times) <= 92


def test_select_by_name_and_label():
    """All matchers must fit; a label that is not there counts as empty."""
    filled = table(X, OTHER_X, Y)
    assert [X, OTHER_X] == found(filled, name_is("x"))
    assert [OTHER_X] == found(filled, name_is("x"), Matcher("a", MatchOp.NOT_EQUAL, "1"))
    assert [X, Y] == found(filled, Matcher("a", MatchOp.REGEX, "1|3"))
    assert [X, OTHER_X, Y] == found(filled, Matcher("b", MatchOp.EQUAL, ""))
    assert [] == found(filled, name_is("z"))


def test_two_names_at_once():
    """Two names that must both hold fit nothing."""
    assert [] == found(table(X, Y), name_is("x"), name_is("y"))


def test_dot_and_newline():
    """A dot takes a newline in version 3, and none in version 2."""
    labels = (("__name__", "x"), ("a", "1\n2"))
    for semantics, expected in ((2, []), (3, [labels])):
        table = SeriesTable(lambda _: 1000, semantics=semantics)
        table.append(labels, 0, 1.0)
        assert expected == found(table, Matcher("a", MatchOp.REGEX, "1.2"))


def test_selection_follows_the_set_of_series():
    """A selection is remembered until a series comes or goes, whether or not it asks for a name."""
    filled = table(X)
    by_label = Matcher("a", MatchOp.NOT_EQUAL, "")
    assert filled.select((name_is("x"),)) is filled.select((name_is("x"),))
    assert [X] == found(filled, by_label)
    filled.append(OTHER_X, 5000, 1.0)
    assert [X, OTHER_X] == found(filled, name_is("x")) == found(filled, by_label)
    filled.trim(12_000)
    assert [OTHER_X] == found(filled, name_is("x")) == found(filled, by_label)
    assert len(filled) == 1


def test_selections_are_bounded(monkeypatch):
    """What was selected is remembered for a bounded number of selectors, and found again after."""
    monkeypatch.setattr("otel_latency.rules.series._MAX_SELECTIONS", 3)
    filled = table(X)
    for number in range(10):
        assert [] == found(filled, name_is(str(number)))
        assert [X] == found(filled, name_is("x"))
    assert len(filled._selected) <= 3


def test_series_that_nobody_asks_for():
    """A series that no rule can ask for takes no room."""
    table = SeriesTable(lambda labels: 1000 if labels == X else None)
    table.append(X, 0, 1.0)
    table.append(Y, 0, 1.0)
    table.end(Y, 1000)
    assert [X] == [series.labels for series in table]


def test_other_rules():
    """After a change of rules, what they do not ask for goes, and the rest is kept as long as they ask."""
    filled = table(X, Y)
    filled.retain({X: 2000}.get, now_ms=1000)
    assert [(X, 2000)] == [(series.labels, series.keep_ms) for series in filled]
    filled.append(Y, 1000, 1.0)
    assert len(filled) == 1


def test_end_of_a_series():
    """A series that ended is still there, without a current sample."""
    filled = table(X)
    filled.end(X, 1000)
    (series,) = filled.select((name_is("x"),))
    assert series.newest(1000, -1) == -1


def test_memory_per_sample():
    """A sample takes at most 24 bytes, the slack of columns that grow and shrink included."""
    filled = table(keep_ms=600_000)
    for at_ms in range(0, 3_000_000, 1000):
        filled.append(X, at_ms, float(at_ms))
        filled.append(Y, at_ms, 1.0)
    assert 1200 <= filled.sample_count() <= 1360
    assert filled.size_bytes() <= 24 * filled.sample_count()
