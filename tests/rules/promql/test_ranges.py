"""Functions of a range, at known values and against a look at every sample."""

import math
import random
from itertools import pairwise

import pytest
from rules.promql.asking import ask

from otel_latency.rules.promql.arithmetic import incremental_mean
from otel_latency.rules.promql.nodes import ValueType
from otel_latency.rules.promql.ranges import RANGE_FUNCTIONS, Span, highest, lowest
from otel_latency.rules.promql.signatures import FUNCTIONS
from otel_latency.rules.series import Series

NAN = math.nan
VALUES = {
    "a counter": ("rate(x[50s])", "x 0+10x10", 1.0),
    "a reset": ("increase(x[1m])", "x 0 1 2 3 2 3 4", 7.0),
    "a gauge goes down": ("delta(x[1m])", "x 60-10x6", -60.0),
    "delta knows no reset": ("delta(x[1m])", "x 0 1 2 3 2 3 4", 3.6),
    "one sample": ("rate(x[1m])", "x _ _ _ _ _ _ 1", None),
    "the last two": ("irate(x[1m])", "x 0 0 0 0 0 0 5", 0.5),
    "the last two fell": ("irate(x[1m])", "x 0 0 0 0 0 9 5", 0.5),
    "the last two of a gauge": ("idelta(x[1m])", "x 0 0 0 0 0 9 5", -4.0),
    "the last of one": ("idelta(x[1m])", "x _ _ _ _ _ _ 5", None),
    "resets": ("resets(x[2m])", "x 3 2 2 1 5 NaN 4", 2.0),
    "changes": ("changes(x[2m])", "x 3 2 2 NaN NaN 4 4", 3.0),
    "slope": ("deriv(x[2m])", "x 0+3x6", 0.3),
    "slope of equal values": ("deriv(x[2m])", "x 5x6", 0.0),
    "slope of an infinity": ("deriv(x[2m])", "x Infx6", NAN),
    "slope with an infinity": ("deriv(x[2m])", "x Inf 1 2 3 4 5 6", NAN),
    "slope of one": ("deriv(x[5s])", "x 0+3x6", None),
    "ahead": ("predict_linear(x[2m], 60)", "x 0+3x6", 36.0),
    "ahead of equal values": ("predict_linear(x[2m], 60)", "x 5x6", 5.0),
    "ahead of one": ("predict_linear(x[5s], 60)", "x 5x6", None),
    "mean": ("avg_over_time(x[2m])", "x 1 2 6", 3.0),
    "sum": ("sum_over_time(x[2m])", "x 1 1e100 1 -1e100", 2.0),
    "count": ("count_over_time(x[2m])", "x 1 NaN 6", 3.0),
    "smallest": ("min_over_time(x[2m])", "x NaN 2 1 NaN 6", 1.0),
    "largest": ("max_over_time(x[2m])", "x NaN 2 6 NaN 1", 6.0),
    "nothing but NaN": ("max_over_time(x[2m])", "x NaN NaN", NAN),
    "variance": ("stdvar_over_time(x[2m])", "x 0 8 8 2 3", 10.56),
    "deviation of equal values": ("stddev_over_time(x[2m])", "x 1.5990505637277868x2", 0.0),
    "quantile": ("quantile_over_time(0.75, x[2m])", "x 0 1 4", 2.5),
    "present": ("present_over_time(x[2m])", "x NaN", 1.0),
    "nothing present": ("present_over_time(x[2m])", "y 1", None),
}


@pytest.mark.parametrize(("expr", "series", "expected"), VALUES.values(), ids=VALUES)
def test_value(expr, series, expected):
    """Each function gives its known value, or no element where there are too few samples."""
    result = ask(expr, series, at=60)
    assert ({} if expected is None else {"{}": pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True)}) == result


YOUNG = {  # samples at 15, 30, 45 s, or at 45 and 60 s
    "zero at the start": ("_ 6 12 18", 24.0, 24.0),
    "zero after the start": ("_ 1 7 13", 19.0, 19.0),
    "zero long before the start": ("_ 100 106 112", 24.0, 24.0),
    "a far start, zero close": ("_ _ _ 2 14", 14.0, 14.0),
    "a far start, zero a little further": ("_ _ _ 9 21", 18.0, 21.0),
    "below zero": ("_ -6 0 6", 24.0, 24.0),
}


@pytest.mark.parametrize(("values", "in_3", "in_2"), YOUNG.values(), ids=YOUNG)
def test_young_counter(values, in_3, in_2):
    """A counter is not taken back beyond its zero; version 2 asks for that before it asks how far the start is."""
    for semantics, expected in ((3, in_3), (2, in_2)):
        result = ask("increase(x[1m])", f"x {values}", at=60, step=15, semantics=semantics)
        assert {"{}": pytest.approx(expected, rel=1e-12)} == result


def plain_increase(samples):
    """What a counter gained, seen pair by pair."""
    gain = samples[-1] - samples[0]
    for before, value in pairwise(samples):
        gain += before if value < before else 0.0
    return gain


@pytest.mark.parametrize("seed", range(20))
def test_increase_is_exact(seed):
    """The noted resets give, to the last bit, what a look at every sample gives."""
    source = random.Random(seed)
    series = Series(())
    for at_ms in range(0, 100_000, 1000):
        series.append(at_ms, source.choice([source.random() * 100, 1e-3, 5.5]))
    for _ in range(20):
        first, last = sorted(source.sample(range(100), 2))
        span = Span(first * 1000 - 500, last * 1000 + 500, last * 1000, 3)
        samples = series.values[first : last + 1].tolist()
        actual = RANGE_FUNCTIONS["increase"](span, 0.0)(series, first, last + 1)
        gain, sampled = plain_increase(samples), float(last - first)
        to_zero = sampled * (samples[0] / gain) if gain > 0 else 0.5
        assert actual == gain * ((sampled + min(0.5, to_zero) + 0.5) / sampled)


def test_mean_by_version():
    """Version 3 adds up first and divides last; version 2 keeps the mean running, and loses more."""
    values = [1.0, 1e100, 1.0, -1e100]
    assert {"{}": 0.5} == ask("avg_over_time(x[1m])", "x 1 1e100 1 -1e100", at=30)
    old = incremental_mean(values, is_compensated=True)
    assert {"{}": old} == ask("avg_over_time(x[1m])", "x 1 1e100 1 -1e100", at=30, semantics=2)
    assert old != 0.5


@pytest.mark.parametrize("semantics", [2, 3])
def test_regression_with_an_infinity(semantics):
    """There is no line through an infinity; version 2 says so also where sums would hide it."""
    assert {"{}": pytest.approx(NAN, nan_ok=True)} == ask("deriv(x[1m])", "x 1 2 Inf", at=20, semantics=semantics)
    (ahead,) = ask("predict_linear(x[1m] offset -5s, -1)", "x _ 2 Inf", at=15, semantics=semantics).values()
    assert math.isnan(ahead) or semantics == 3


def test_every_function_of_a_range_is_there():
    """What the parser lets through has a function here, but for the one that looks at no samples."""
    of_range = {name for name, signature in FUNCTIONS.items() if ValueType.RANGE_VECTOR in signature.args}
    assert of_range - {"absent_over_time"} == set(RANGE_FUNCTIONS)


def test_extremes_of_lists():
    """NaN is passed over, wherever it stands."""
    assert (1.0, 3.0) == (lowest([NAN, 3.0, 1.0, NAN]), highest([3.0, NAN, 1.0]))
