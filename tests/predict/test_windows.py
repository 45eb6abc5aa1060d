"""What was seen last, always sorted: against lists that are sorted anew for each question."""

import random

import pytest

from otel_latency.predict.windows import Neighbours, Window, at_levels


def test_window_slides():
    """It holds the latest values, ascending, repeated ones too."""
    draw = random.Random(1)
    values = [float(draw.randrange(20)) for _ in range(500)]
    window = Window(50)
    for value in values:
        window.add(value)
    assert sorted(values[-50:]) == list(window.ascending)


@pytest.mark.parametrize("count", [1, 2, 9, 200])
def test_levels(count):
    """n values cut the range into n + 1 equal parts; beyond the outermost there is nothing."""
    values = [float(value) for value in range(count)]
    assert pytest.approx([min(max(p * (count + 1) - 1, 0), count - 1) for p in (0.02, 0.5, 0.98)]) == [
        at_levels(values)[place] for place in (0, 6, 12)
    ]


def test_coverage_of_the_next():
    """Eight in ten values to come lie between p10 and p90, also when only 19 are known."""
    draw = random.Random(2)
    hits = 0
    for _ in range(2000):
        known = at_levels(sorted(draw.gauss(0, 1) for _ in range(19)))
        hits += known[2] <= draw.gauss(0, 1) <= known[10]
    assert pytest.approx(0.8, abs=0.03) == hits / 2000


def test_neighbours_are_the_nearest():
    """Where all fit in, the quantiles are those of the calls that are nearest in size, load and speed."""
    draw = random.Random(3)
    calls = [(draw.uniform(3, 8), draw.uniform(0, 3), draw.gauss(0, 0.2), draw.gauss(0, 1)) for _ in range(100)]
    neighbours = Neighbours(100, 10, 1.0)
    for call in calls:
        neighbours.add(*call)
    apart = lambda call: abs(call[0] - 5) + 0.5 * abs(call[1] - 1) + 0.5 * abs(call[2])
    expected = at_levels(sorted(value for *_, value in sorted(calls, key=apart)[:10]))
    assert pytest.approx(expected, abs=1e-5) == neighbours.at_levels(5.0, 1.0, 0.0)


def test_neighbours_slide():
    """The oldest calls go, of equal size too."""
    neighbours = Neighbours(10, 10, 1.0)
    for value in range(35):
        neighbours.add(5.0, 0.0, 0.0, float(value))
    assert sorted(neighbours.values) == [float(value) for value in range(25, 35)]


def test_of_equal_size_those_under_the_same_load():
    """A hundred calls of one size at an idle time do not hide those under load."""
    neighbours = Neighbours(320, 10, 1.0)
    for value in range(300):
        neighbours.add(5.0, 0.0 if value % 3 else 3.0, 0.0, 1.0 if value % 3 else 2.0)
    assert (1.0, 2.0) == tuple(neighbours.at_levels(5.0, load, 0.0)[6] for load in (0.0, 3.0))
