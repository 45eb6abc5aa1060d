"""Windows add up exactly, and sliding quantiles see what lies in their horizon and nothing else."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter

import pytest

from otel_latency.aggregate.windows import (
    AGGREGATE,
    HORIZONS,
    MAX_UNTAKEN,
    OLDEST_MINUTE,
    REAL_TIME,
    SYSTEM,
    Windows,
)
from otel_latency.sketch import Sketch

START = 4 * 60 * 1_000_000  # a quantum on a full minute
QUANTA = {"10s": 40, "1m": 240, "5m": 1200}


def feed(windows: Windows, values: list[tuple[int, list[float]]]) -> None:
    for quantum, group in values:
        windows.add(array("d", group), array("q", [quantum] * len(group)))


def draw(seed: int, quanta: int, per_quantum: int) -> list[tuple[int, list[float]]]:
    source = random.Random(seed)
    return [(START + q, [source.lognormvariate(-1, 0.8) for _ in range(per_quantum)]) for q in range(quanta)]


@pytest.mark.parametrize("per_quantum", [1, 40, 300])
@pytest.mark.parametrize("is_late", [False, True], ids=["in order", "late"])
def test_coarse_windows_equal_the_sum_of_fine_ones(per_quantum, is_late):
    """250 ms, 1 s and 1 min windows hold the very same counts as one sketch of everything, in any order of arrival."""
    data = draw(1, 200, per_quantum)
    windows = Windows()
    arriving = random.Random(2).sample(data, len(data)) if is_late else data
    for quantum, group in arriving:
        windows.advance(START + 199 if is_late else quantum)
        feed(windows, [(quantum, group)])
    whole = Sketch([value for _, group in data for value in group]).bucket_counts()
    for resolution in (REAL_TIME, SYSTEM, AGGREGATE):
        merged = Sketch()
        for window in windows.ring(resolution).values():
            merged.merge(window)
        assert merged.bucket_counts() == whole, resolution.name
    for index, second in windows.ring(SYSTEM).items():
        fine = Sketch([value for quantum, group in data if quantum // 4 == index for value in group])
        assert second.bucket_counts() == fine.bucket_counts()


@pytest.mark.parametrize("per_quantum", [0, 1, 5, 60], ids="{} a quantum".format)
def test_sliding_quantiles_cover_their_horizon(per_quantum):
    """At any time the quantiles of a horizon are those of the values that ended within it."""
    data = draw(3, 1500, per_quantum)
    windows = Windows()
    qs = (0.5, 0.9, 0.99)
    for position, (quantum, group) in enumerate(data):
        windows.advance(quantum)
        feed(windows, [(quantum, group)])
        if position % 97 and position < 1499:
            continue
        for name, found in windows.sliding(qs):
            # The horizon ends with the running window, so its start lies on the grid of its own ring.
            ring, length = HORIZONS[name]
            oldest = (quantum // ring.quanta - length + 1) * ring.quanta
            inside = sorted(value for q, group_ in data[: position + 1] if q >= oldest for value in group_)
            if not inside:
                assert all(map(math.isnan, found))
                continue
            expected = [inside[math.ceil(round(q * len(inside), 6)) - 1] for q in qs]
            assert found == (expected if len(inside) <= 250 else pytest.approx(expected, rel=0.0055)), name


def test_late_values_join_the_horizons_that_still_cover_them():
    """A span reported late counts in the window it ended in, where that is still open to be seen."""
    windows = Windows()
    windows.advance(START)
    feed(windows, [(START, [1.0] * 300)])
    windows.advance(START + 8)
    feed(windows, [(START + 1, [9.0] * 700)])
    assert dict(windows.sliding((0.5,))) == {name: [pytest.approx(9.0, rel=0.0055)] for name in HORIZONS}
    windows.advance(START + 1 + 40)
    assert math.isnan(dict(windows.sliding((0.5,)))["10s"][0])
    assert dict(windows.sliding((0.5,)))["1m"] == [pytest.approx(9.0, rel=0.0055)]


def test_what_is_too_old_for_every_ring_is_passed_over():
    """An exporter that catches up after hours does not disturb the present."""
    windows = Windows()
    windows.advance(START)
    feed(windows, [(START - 60 * 240 - 1, [1.0])])
    assert [windows.ring(r) for r in (REAL_TIME, SYSTEM, AGGREGATE)] == [{}, {}, {}]


def test_rings_forget():
    """After its length a ring is empty again, also after a long silence."""
    windows = Windows()
    windows.advance(START)
    feed(windows, draw(4, 1, 400))
    for quantum in (START + 1, START + 240, START + 4 * 300, START + 240 * 60):
        windows.advance(quantum)
    assert [windows.ring(r) for r in (REAL_TIME, SYSTEM, AGGREGATE)] == [{}, {}, {}]
    assert all(math.isnan(found[0]) for _, found in windows.sliding((0.99,)))


def test_time_does_not_go_back():
    """A clock that steps back neither brings windows back nor counts them twice."""
    windows = Windows()
    windows.advance(START + 40)
    feed(windows, [(START + 40, [2.0] * 400)])
    before = dict(windows.sliding((0.5,)))
    windows.advance(START)
    assert dict(windows.sliding((0.5,))) == before


def test_a_clock_set_back_far_starts_the_windows_anew():
    """Windows ahead of the present would hide everything until it has caught up."""
    windows = Windows()
    windows.advance(START + 14_400)
    feed(windows, [(START + 14_400, [2.0] * 400)])
    windows.advance(START)
    feed(windows, [(START, [1.0] * 3)])
    assert dict(windows.sliding((0.5,))) == {name: [1.0] for name in HORIZONS}


def test_counts_survive_any_schedule():
    """However reading and arriving interleave, nothing is counted twice or lost."""
    source = random.Random(5)
    windows, arrived, now = Windows(), Counter(), START
    for _ in range(3000):
        now += source.choice([0, 0, 1, 2])
        windows.advance(now)
        quantum = now - source.choice([0, 0, 0, 1, 3, 10, 30])
        values = [source.choice([0.1, 0.2, 0.4])] * source.randrange(1, 40)
        arrived[quantum] += len(values)
        feed(windows, [(quantum, values)])
    tail = (now // 4 - 299) * 4
    expected = sum(count for quantum, count in arrived.items() if quantum >= tail)
    assert sum(w.count for i, w in windows.ring(SYSTEM).items() if i * 4 >= tail) == expected
    found = dict(windows.sliding((0.0, 1.0)))["5m"]
    assert found == [pytest.approx(0.1, rel=0.0055), pytest.approx(0.4, rel=0.0055)]


def test_one_window_is_that_of_its_ring():
    """Whether rings have been built or not."""
    for deltas in ([(START, [1.0, 3.0])], [(START, [1.0]), (START, [3.0])]):
        windows = Windows()
        windows.advance(START)
        feed(windows, deltas)
        assert windows.window(SYSTEM, START // 4).sum == windows.ring(SYSTEM)[START // 4].sum == 4.0
        assert windows.window(SYSTEM, START // 4 - 1) is None


MINUTE = AGGREGATE.quanta


def taken(windows: Windows) -> dict[int, int]:
    """Counts by minute after `START`."""
    return {minute - START // MINUTE: new.count for minute, new in windows.take_minutes()}


def test_each_value_is_taken_once():
    """Whether rings have been built or not, and also when they are too short for it."""
    windows = Windows()
    windows.advance(START + MINUTE)
    feed(windows, [(START, [1.0, 2.0]), (START + MINUTE, [3.0])])
    assert {0: 2, 1: 1} == taken(windows)
    windows.ring(SYSTEM)
    assert {} == taken(windows)
    feed(windows, [(START, [4.0]), (START - 1000 * MINUTE, [5.0]), (START + MINUTE, [6.0] * 300)])
    assert {-1000: 1, 0: 1, 1: 300} == taken(windows)
    assert {} == taken(windows)


def test_what_is_taken_changes_no_ring():
    """It belongs to whoever took it."""
    windows = Windows()
    windows.advance(START)
    feed(windows, [(START, [1.0]), (START, [2.0])])
    for _, new in windows.take_minutes():
        new.merge(Sketch([9.0]))
    assert windows.window(AGGREGATE, START // MINUTE).maximum == 2.0


def test_no_step_of_the_clock_touches_what_waits():
    """Windows begin anew, or run out; what was not taken from them is taken later."""
    windows = Windows()
    expected = Counter()
    for number, minutes in enumerate([0, 1440, 1440, 0, -1440, 0, 60, 0, 1]):
        windows.advance(START + minutes * MINUTE)
        feed(windows, [(START + minutes * MINUTE, [1.0] * number)] * 2)
        expected[minutes] += 2 * number
    assert expected == taken(windows)


def test_what_waits_is_bounded():
    """However the clock jumps, and however wrong times are: values are told in another minute then, none is lost."""
    source = random.Random(7)
    windows = Windows()
    for _ in range(2 * MAX_UNTAKEN):
        windows.advance(START + source.randrange(10**6) * MINUTE)
        feed(windows, [(source.randrange(START + 10**6 * MINUTE), [1.0])])
    found = taken(windows)
    assert (MAX_UNTAKEN, 2 * MAX_UNTAKEN) == (len(found), sum(found.values()))


def test_an_end_in_the_stone_age():
    """is told in the oldest minute of those that are told as they are."""
    windows = Windows()
    windows.advance(START)
    feed(windows, [(0, [1.0]), (START - OLDEST_MINUTE * MINUTE, [1.0])])
    assert {-OLDEST_MINUTE: 2} == taken(windows)
