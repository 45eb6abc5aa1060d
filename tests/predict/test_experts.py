"""Lines through the latest calls, against data with known slopes."""

import random

import pytest

from otel_latency.predict.experts import OWN, Deviations, Drift, Trend, beyond
from otel_latency.predict.pool import NORMAL


def test_trend():
    """The slope over the size, once there is evidence for it; before, that of the others."""
    draw, trend = random.Random(1), Trend()
    trend.add(5.0, 1.0)
    assert pytest.approx(1.0 + 0.5) == trend.expected(6.0, 0.5)
    for _ in range(300):
        size = draw.uniform(3, 8)
        trend.add(size, 1.0 + 0.7 * size)
    assert pytest.approx(1.0 + 0.7 * 6.0, abs=0.05) == trend.expected(6.0, 0.0)


def test_drift():
    """What the recent speed tells is added, as far as it came true."""
    draw, drift = random.Random(2), Drift()
    for _ in range(400):
        size, speed = draw.uniform(3, 8), draw.gauss(0, 0.3)
        drift.add(size, speed, 0.4 * size + 0.8 * speed)
    assert pytest.approx(0.4 * 5 + 0.8 * 0.5, abs=0.1) == drift.expected(5.0, 0.5, 0.0)


@pytest.mark.parametrize("line", [Trend, Drift])
def test_fade(line):
    """What was faded to ten calls is outweighed by twenty new ones."""
    known = line()
    arguments = (5.0,) if line is Trend else (5.0, 0.0)
    for _ in range(500):
        known.add(*arguments, 1.0)
    known.fade(10.0)
    for _ in range(20):
        known.add(*arguments, 2.0)
    assert pytest.approx(1.67, abs=0.05) == known.expected(*arguments, 0.0)


@pytest.mark.parametrize("spread", [0.1, 0.8])
def test_width_of_few(spread):
    """From ten calls on the width is nearly their own, not the usual one."""
    draw, known = random.Random(3), Deviations()
    for _ in range(OWN // 2):
        known.add(draw.gauss(0, spread))
    at = known.at_levels(None)
    assert pytest.approx(spread * (NORMAL[10] - NORMAL[2]), rel=0.35) == at[10] - at[2]


def test_beyond():
    """At p90 it is 0, and at p98 the logarithm of five."""
    assert (0.0, pytest.approx(1.609, abs=0.001)) == (beyond(1.0, 1.0, 3.0), beyond(3.0, 1.0, 3.0))
