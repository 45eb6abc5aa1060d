"""What calls of one kind have in common."""

import random

import pytest

from otel_latency.predict.pool import NORMAL, USUAL_SPREAD, Pool


def fed(calls, *, slope=0.5, spread=0.1, above=None, seed=1):
    draw, pool = random.Random(seed), Pool(above)
    for _ in range(calls):
        size, deviation = draw.gauss(0, 1), draw.gauss(0, spread)
        pool.add(deviation, size, slope * size + deviation)
        pool.heed(2.0 + deviation)
    return pool


def test_nothing_known():
    """No slope, and the usual spread."""
    assert (0.0, pytest.approx([USUAL_SPREAD * normal for normal in NORMAL])) == (Pool().slope(), Pool().shape())


def test_slope_and_shape():
    """Slope, width and level of what it was fed."""
    pool = fed(300)
    assert (pytest.approx(0.5, abs=0.05), pytest.approx(2.0, abs=0.05)) == (pool.slope(), pool.level.mean)
    assert pytest.approx([0.1 * normal for normal in NORMAL], abs=0.05) == pool.shape()


def test_leans_on_the_wider():
    """With little of its own it says what the wider one does."""
    wider = fed(300)
    assert pytest.approx(wider.slope()) == Pool(wider).slope()
    assert pytest.approx(wider.shape(), abs=0.05) == Pool(wider).shape()
