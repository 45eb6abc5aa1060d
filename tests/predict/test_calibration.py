"""Ends are where their share of calls lies beyond them, whatever the forecast was that they came from."""

import math
import random

import pytest

from otel_latency.predict.calibration import RARE, Ends, Excess, Tail, exceeded_by
from otel_latency.predict.estimate import LEVELS, Estimate
from otel_latency.predict.pool import NORMAL

P10, P90, P98 = 2, 10, 12
FORECASTS = {
    "as they come": [0.3 * normal for normal in NORMAL],
    "half as wide": [0.15 * normal for normal in NORMAL],
    "twice as wide": [0.6 * normal for normal in NORMAL],
    "too long": [0.15 + 0.3 * normal for normal in NORMAL],
}
CALLS = {
    "normal": lambda draw: draw.gauss(0, 0.3),
    "one in 33 is late": lambda draw: draw.gauss(0, 0.3) + (draw.expovariate(1.5) if draw.random() < 0.03 else 0),
}


def shares(forecast, call, *, before=1000, calls=6000, seed=1):
    """Shares of the calls that are shorter than p10, longer than p90, and longer than p99."""
    draw, ends, beyond = random.Random(seed), Ends(), [0, 0, 0]
    for index in range(before + calls):
        grid, log_seconds = ends.stretched(forecast), call(draw)
        if index >= before:
            missed = log_seconds < grid[P10], log_seconds > grid[P90], log_seconds > exceeded_by(0.01, *tail_of(grid))
            beyond = [so_far + each for so_far, each in zip(beyond, missed, strict=True)]
        ends.learn(grid, log_seconds, index + 1)
    return [each / calls for each in beyond]


def tail_of(grid):
    return grid[P90], grid[P98]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("forecast", FORECASTS.values(), ids=FORECASTS)
def test_shares(forecast, call):
    """A tenth is shorter, a tenth is longer, and a hundredth is late."""
    shorter, longer, late = shares(forecast, call)
    assert (pytest.approx(0.1, abs=0.01), pytest.approx(0.1, abs=0.01), pytest.approx(0.01, abs=0.003)) == (
        shorter,
        longer,
        late,
    )


def test_middle_stays():
    """The median is not moved, and the quantiles stay in order."""
    ends = Ends()
    ends.restore([-0.7, 0.9, -0.5])
    grid = ends.stretched(FORECASTS["too long"])
    assert (sorted(grid), FORECASTS["too long"][6]) == (grid, grid[6])


def test_one_step():
    """A miss counts nine times as much as a hit, which is what balances where one in ten misses."""
    high = []
    for log_seconds in (1.0, 0.0):
        ends = Ends()
        ends.learn(FORECASTS["as they come"], log_seconds, 1)
        high.append(ends.high)
    assert pytest.approx(-9.0) == high[0] / high[1]


def test_narrowest():
    """A tail that may not grow gets narrower where too few are beyond it, and no wider where too many are."""
    narrow, wide = Tail(widest=0.0), Tail(widest=0.0)
    for _ in range(100):
        narrow.learn(0.0, 0.5, 0.1)
        wide.learn(0.0, 0.5, 9.0)
    assert (pytest.approx(-100 * 0.2 * RARE), 0.0) == (narrow.factor, wide.factor)


def test_excess():
    """The mean distance beyond p98 is the slope of the tail."""
    draw, excess = random.Random(2), Excess()
    for _ in range(400):
        excess.add(draw.expovariate(1 / 0.3))
    assert pytest.approx(0.3, rel=0.35) == excess.mean


@pytest.mark.parametrize("slope", [0.0, 0.7])
def test_same_tail_as_the_estimate(slope):
    """What a share of the calls exceeds is what the estimate says they exceed."""
    grid = FORECASTS["as they come"]
    estimate = Estimate(tuple(math.exp(each) for each in grid), 60, slope=slope)
    late = math.exp(exceeded_by(0.003, *tail_of(grid), slope))
    assert (pytest.approx(0.003), len(LEVELS)) == (estimate.tail(late), len(grid))
