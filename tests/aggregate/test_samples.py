"""The table of the latest samples and its five minutes."""

import pytest

from otel_latency.aggregate.samples import Range, SampleTable
from otel_latency.records import Family, Sample, ValueSeries

NOW = 1_700_000_000.0


def fill(table, values, *, start=NOW, step=1.0, name="load", source="host", **labels):
    """Put one value each *step* seconds; None leaves that time out. Gives the time of the last."""
    for index, value in enumerate(values):
        now = start + index * step
        if value is not None:
            table.put(source, [Sample(name, value, labels, is_counter=name.endswith("_total"))], now)
    return now


@pytest.fixture
def table():
    return SampleTable()


def test_the_latest_value(table):
    """A series is found by its name and all of its labels, in any order."""
    fill(table, [1.0, 2.0], name="bytes", interface="eth0", direction="receive")
    assert (2.0, 2.0) == (
        table.value("bytes", direction="receive", interface="eth0"),
        table.value("bytes", interface="eth0", direction="receive"),
    )
    assert (None, None) == (table.value("bytes"), table.value("load"))


def test_families(table):
    """Series of one name are one family, sorted by labels; help falls back on the source."""
    samples = [
        Sample("b", 2.0, {"x": "2"}, help="Bs."),
        Sample("b", 1.0, {"x": "1"}),
        Sample("a_total", 3.0, is_counter=True),
    ]
    table.put("shop", samples, NOW)
    assert [
        Family("a_total", "counter", "From the collector shop.", [ValueSeries((), 3.0)]),
        Family("b", "gauge", "Bs.", [ValueSeries((("x", "1"),), 1.0), ValueSeries((("x", "2"),), 2.0)]),
    ] == table.families(NOW)


def test_a_name_of_two_kinds(table):
    """Two collectors that disagree about a name make it untyped rather than a broken page."""
    table.put("one", [Sample("a_total", 1.0, {"x": "1"}, is_counter=True)], NOW)
    table.put("two", [Sample("a_total", 1.0, {"x": "2"})], NOW)
    assert ["untyped"] == [family.type for family in table.families(NOW)]


WINDOWS = {
    "all": ([1.0, 5.0, 3.0], 60.0, Range(1.0, 5.0, 3.0, 3.0)),
    "the last two seconds": ([1.0, 5.0, 3.0], 2.0, Range(3.0, 5.0, 4.0, 3.0)),
    "holes are no points": ([4.0, None, None, 2.0], 60.0, Range(2.0, 4.0, 3.0, 2.0)),
    "five minutes at most": ([9.0] + [1.0] * 300, 3600.0, Range(1.0, 1.0, 1.0, 1.0)),
    "after more than five minutes of nothing": ([9.0, *[None] * 400, 1.0], 3600.0, Range(1.0, 1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize(("values", "seconds", "expected"), WINDOWS.values(), ids=WINDOWS)
def test_window(table, values, seconds, expected):
    """A window's range is that of its points, one per second."""
    now = fill(table, values)
    assert expected == table.window("load", seconds, now)


def test_several_samples_in_a_second(table):
    """Of several samples in a second the last one is its point."""
    now = fill(table, [1.0, 2.0, 3.0, 10.0], step=0.25)
    assert Range(10.0, 10.0, 10.0, 10.0) == table.window("load", 60.0, now)


def test_an_empty_window(table):
    """No series, or no point in the window, is no range."""
    now = fill(table, [1.0])
    assert (None, None) == (table.window("other", 60.0, now), table.window("load", 5.0, now + 10.0))


RATES = {
    "steady": ([100, 110, 120], 60.0, 10.0),
    "only the window": ([0, 1000, 1010, 1020], 3.0, 10.0),
    "holes": ([100, None, None, None, 140], 60.0, 10.0),
    "a restart": ([100, 110, 4, 14], 60.0, 8.0),
    "one point": ([100], 60.0, None),
}


@pytest.mark.parametrize(("values", "seconds", "expected"), RATES.values(), ids=RATES)
def test_rate(table, values, seconds, expected):
    """A counter's rate is its growth between the first and last point of the window, across a restart too."""
    now = fill(table, values, name="bytes_total")
    assert expected == table.rate("bytes_total", seconds, now)
    assert values[-1] == table.value("bytes_total")


STALE = {
    "each second, a minute": (1.0, 60.0, True),
    "each second, over a minute": (1.0, 60.5, False),
    "each five minutes, three of them": (300.0, 900.0, True),
    "each five minutes, over three": (300.0, 900.5, False),
}


@pytest.mark.parametrize(("cadence", "age", "is_shown"), STALE.values(), ids=STALE)
def test_stale_series_go(table, cadence, age, is_shown):
    """A series without a sample for a minute, or three cadences of its source, is shown no more."""
    last = fill(table, [1.0, 2.0], step=cadence)
    assert is_shown == bool(table.families(last + age))


def test_a_source_that_put_once(table):
    """Before its second put nobody knows a source's cadence, and nothing of it is stale."""
    fill(table, [1.0])
    assert table.families(NOW + 3600.0)


def test_one_series_of_a_source_goes(table):
    """A series that its source no longer measures goes, while the others stay."""
    fill(table, [1.0], name="gone")
    last = fill(table, [1.0] * 100, name="kept")
    assert ["kept"] == [family.name for family in table.families(last)]
    assert (None, 1.0) == (table.value("gone"), table.value("kept"))


def test_series_are_bounded():
    """Beyond the limit new series are dropped and counted; known ones go on; what expires makes room."""
    table = SampleTable(max_series=2)
    samples = [Sample("a", 1.0, {"x": str(index)}) for index in range(5)]
    table.put("shop", samples, NOW)
    assert (2, 3) == (len(table.families(NOW)[0].series), table.dropped)
    table.put("shop", [Sample("a", 7.0, {"x": "0"})], NOW + 1.0)
    assert (7.0, 3) == (table.value("a", x="0"), table.dropped)
    for age in range(10, 70, 10):
        table.put("shop", [], NOW + age)
    table.put("shop", [Sample("a", 5.0, {"x": "4"})], NOW + 70.0)
    assert (5.0, 3) == (table.value("a", x="4"), table.dropped)


def test_the_clock_steps_back(table):
    """After a small step back values go on and the window stays sound; after a large one it starts anew."""
    fill(table, [1.0, 2.0, 3.0])
    now = fill(table, [7.0], start=NOW - 10.0)
    assert (7.0, Range(1.0, 7.0, pytest.approx(10.0 / 3), 7.0)) == (
        table.value("load"),
        table.window("load", 60.0, now),
    )
    now = fill(table, [8.0, 9.0], start=NOW - 3600.0)
    assert Range(8.0, 9.0, 8.5, 9.0) == table.window("load", 60.0, now)


def test_memory_is_a_ring(table):
    """A day of samples keeps five minutes of points."""
    now = fill(table, [float(index) for index in range(86_400)])
    assert Range(86_100.0, 86_399.0, 86_249.5, 86_399.0) == table.window("load", 1e9, now)


def test_minutes_tell_the_values_of_a_minute(table):
    """By the second, of each series; None where there was none."""
    start = int(NOW) // 60 * 60
    fill(table, [float(index) for index in range(90)], start=start + 1)
    values = {slot: [seen for _, _, seen in table.minutes(start // 60 + slot)] for slot in (-1, 0, 1, 2)}
    assert values == {-1: [None], 0: [[float(n) for n in range(59)]], 1: [[float(n) for n in range(59, 90)]], 2: [None]}
