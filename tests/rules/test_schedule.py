import pytest

from otel_latency.rules.schedule import Schedule, Slot, offset_ms

KEY = ("latency.yaml", "latency")


def test_grid():
    """Evaluations lie one interval apart, whenever they are asked for."""
    schedule = Schedule(KEY, 1000, 0)
    first = schedule.next_ms
    assert 0 < first <= 1000
    assert first % 1000 == offset_ms(KEY, 1000)
    taken = [schedule.take(now_ms) for now_ms in (first - 1, first, first + 1, first + 1400, first + 2000)]
    assert [None, Slot(first, 0), None, Slot(first + 1000, 0), Slot(first + 2000, 0)] == taken


def test_missed():
    """What was missed is counted and not made up for."""
    schedule = Schedule(KEY, 1000, 0)
    first = schedule.next_ms
    assert Slot(first + 5000, 5) == schedule.take(first + 5999)
    assert schedule.take(first + 5999) is None


def test_clock_set_back():
    """A clock that is set back by an hour stops evaluations for no longer than an interval."""
    hour_ms = 3_600_000
    schedule = Schedule(KEY, 1000, 2 * hour_ms)
    schedule.take(2 * hour_ms + 1000)
    assert schedule.take(hour_ms) is None
    assert hour_ms < schedule.next_ms <= hour_ms + 1000


@pytest.mark.parametrize("other", [("latency.yaml", "errors"), ("errors.yaml", "latency")])
def test_groups_are_spread(other):
    """Groups with different names or files run at different moments of an interval, the same after each restart."""
    assert offset_ms(KEY, 60_000) == offset_ms(KEY, 60_000)
    assert offset_ms(other, 60_000) != offset_ms(KEY, 60_000)


def test_between_samples():
    """An evaluation waits for the next sample, since before that there is nothing new to see."""
    schedule = Schedule(KEY, 1000, 500, sample_ms=250)
    assert schedule.next_ms % 250 == 0
    assert 500 < schedule.next_ms <= 1500 + 250


def test_clock_set():
    """The evaluations to come move with the clock, and none is missed."""
    schedule = Schedule(("f", "g"), 5000, 0, sample_ms=1000)
    first = schedule.next_ms
    schedule.shift(-3_600_000)
    assert (first - 3_600_000, 0) == schedule.take(first - 3_600_000)
    assert (first - 3_595_000, 0) == schedule.take(first - 3_595_000)
