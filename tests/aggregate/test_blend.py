"""Several estimates become that of their mixture."""

import random
from math import exp

import pytest

from otel_latency.aggregate.blend import blended
from otel_latency.predict.estimate import LEVELS, Estimate
from otel_latency.predict.pool import NORMAL


def lognormal(median, spread, samples=10):
    return Estimate(tuple(median * exp(spread * normal) for normal in NORMAL), samples)


def test_one():
    """Of one estimate nothing changes."""
    one = lognormal(2.0, 0.3)
    assert one is blended([(0.001, one)])


def test_same():
    """Of equal ones it is the same, from all their samples."""
    one = lognormal(2.0, 0.3)
    both = blended([(1.0, one), (3.0, one)])
    assert (pytest.approx(one.quantiles, rel=1e-3), 20) == (both.quantiles, both.samples)


def test_mixture():
    """The quantiles are those of calls that are drawn from one or the other by their weights."""
    draw = random.Random(1)
    quick, slow = lognormal(1.0, 0.2), lognormal(10.0, 0.3)
    drawn = sorted(
        draw.lognormvariate(0, 0.2) if draw.random() < 0.75 else 10 * draw.lognormvariate(0, 0.3) for _ in range(40_000)
    )
    both = blended([(3.0, quick), (1.0, slow)])
    expected = [drawn[int(level * len(drawn))] for level in LEVELS]
    assert pytest.approx(expected, rel=0.05) == both.quantiles
    assert list(both.quantiles) == sorted(both.quantiles)
