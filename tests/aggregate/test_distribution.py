"""A latency in all its forms: classic buckets are exact, exemplars are the slowest of their minute."""

from __future__ import annotations

import random
from array import array

import pytest

from otel_latency.aggregate.distribution import DURATION_BOUNDS, TOKEN_BOUNDS, Distribution
from otel_latency.records import Exemplar


def settled(values: list[float], quanta: list[int], *, windowed: bool = True) -> Distribution:
    distribution = Distribution(DURATION_BOUNDS, created=0.0, windowed=windowed)
    distribution.buffer(array("d", values), array("q", quanta))
    distribution.settle(present=max(quanta))
    return distribution


@pytest.mark.parametrize("windowed", [True, False])
def test_classic_buckets_are_exact(windowed):
    """A bucket counts the values at or below its bound; the last bound is not infinity."""
    source = random.Random(1)
    values = [source.lognormvariate(-1, 2) for _ in range(5000)] + list(DURATION_BOUNDS)
    found = settled(values, [source.randrange(40) for _ in values], windowed=windowed)
    assert found.cumulative_buckets() == [(b, sum(v <= b for v in values)) for b in DURATION_BOUNDS]
    assert found.total.count == len(values)
    assert found.total.sum == pytest.approx(sum(values))


def test_bounds_reach_from_milliseconds_to_ten_minutes():
    """The GenAI conventions' bounds are all among ours, and LLM calls of minutes are not in the last bucket."""
    conventions = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    assert set(conventions) <= set(DURATION_BOUNDS)
    assert max(DURATION_BOUNDS) > 600
    assert list(TOKEN_BOUNDS) == sorted(TOKEN_BOUNDS)


def test_the_windows_get_what_the_total_gets():
    """Each value is in its quantum's window and in the total."""
    found = settled([1.0, 2.0, 3.0], [100, 101, 101])
    assert found.windows is not None
    assert dict(found.windows.sliding((1.0,)))["10s"] == [3.0]
    assert found.total.count == 3


def exemplar(value: float, time: float) -> Exemplar:
    return Exemplar(value, "aa", "bb", time)


def test_the_exemplar_is_the_slowest_of_the_minute_and_stays_one_more():
    """A scrape every minute or less sees each minute's slowest span."""
    found = Distribution(DURATION_BOUNDS, created=0.0, windowed=False)
    for value, now in ((1.0, 100.0), (5.0, 110.0), (2.0, 120.0)):
        found.show(exemplar(value, now), now)
    assert found.exemplar(130.0) == exemplar(5.0, 110.0)
    found.show(exemplar(3.0, 161.0), 161.0)
    assert found.exemplar(170.0) == exemplar(5.0, 110.0)
    found.show(exemplar(0.5, 222.0), 222.0)
    assert found.exemplar(225.0) == exemplar(3.0, 161.0)
    assert found.exemplar(400.0) is None
