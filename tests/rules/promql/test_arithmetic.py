"""Floating point as Go has it."""

import math

import pytest

from otel_latency.rules.promql.arithmetic import (
    add,
    ceil,
    compensated_sum,
    divide,
    floor,
    incremental_mean,
    is_close,
    larger,
    mean,
    modulo,
    plain_sum,
    power,
    quantile,
    smaller,
)

INF, NAN = math.inf, math.nan


def same(expected, actual):
    """Equal to the sign of zero, NaN being like NaN."""
    return repr(expected) == repr(float(actual))


QUOTIENTS = [
    (1, 0.0, INF),
    (1, -0.0, -INF),
    (-1, 0.0, -INF),
    (0.0, 0.0, NAN),
    (NAN, 0.0, NAN),
    (INF, 0.0, INF),
    (7, 2, 3.5),
]


@pytest.mark.parametrize(("x", "y", "expected"), QUOTIENTS)
def test_divide(x, y, expected):
    """Dividing by zero gives an infinity with the signs of both, or NaN."""
    assert same(expected, divide(x, y))


REMAINDERS = [(7, 3, 1.0), (-7, 3, -1.0), (7, -3, 1.0), (7, 0, NAN), (INF, 2, NAN), (7, INF, 7.0), (NAN, 1, NAN)]


@pytest.mark.parametrize(("x", "y", "expected"), REMAINDERS)
def test_modulo(x, y, expected):
    """A remainder has the sign of what was divided; there is none of infinities or by zero."""
    assert same(expected, modulo(x, y))


POWERS = [
    *[
        (2, 3, 8.0),
        (0.0, -1, INF),
        (-0.0, -1, -INF),
        (-0.0, -2, INF),
        (-0.0, -0.5, INF),
        (-8, 1 / 3, NAN),
        (NAN, 0, 1.0),
    ],
    *[(10, 400, INF), (-10, 401, -INF), (-10, 400, INF), (-1, INF, 1.0), (1, NAN, 1.0), (10, -400, 0.0), (NAN, 0, 1.0)],
]


@pytest.mark.parametrize(("x", "y", "expected"), POWERS)
def test_power(x, y, expected):
    """A power is an infinity where it is too large, and NaN where there is none."""
    assert same(expected, power(x, y))


ROUNDED = [
    (2.5, 2.0, 3.0),
    (-2.5, -3.0, -2.0),
    (-0.5, -1.0, -0.0),
    (-0.0, -0.0, -0.0),
    (INF, INF, INF),
    (NAN, NAN, NAN),
]


@pytest.mark.parametrize(("x", "down", "up"), ROUNDED)
def test_rounding(x, down, up):
    """Floor and ceil keep infinities, NaN and the sign of zero."""
    assert same(down, floor(x))
    assert same(up, ceil(x))


EXTREMES = [(1, 2, 1.0, 2.0), (NAN, 1, NAN, NAN), (NAN, INF, NAN, INF), (-INF, NAN, -INF, NAN)]


@pytest.mark.parametrize(("x", "y", "low", "high"), EXTREMES)
def test_smaller_and_larger(x, y, low, high):
    """NaN wins over all but the infinity that is asked for."""
    assert same(low, smaller(x, y))
    assert same(low, smaller(y, x))
    assert same(high, larger(x, y))
    assert same(high, larger(y, x))


SUMS = [
    ([1, 1e100, 1, -1e100], 2.0, 0.0),
    ([0.1] * 10, 1.0, 0.9999999999999999),
    ([1e308, 1e308], INF, INF),
    ([INF, 1], INF, INF),
    ([INF, -INF, 1], NAN, NAN),
    ([], 0.0, 0.0),
]


@pytest.mark.parametrize(("values", "compensated", "plain"), SUMS)
def test_sums(values, compensated, plain):
    """A compensated sum loses nothing to a large value that goes again; infinities stay."""
    assert same(compensated, compensated_sum(values))
    assert same(plain, plain_sum(values))
    total = carry = 0.0
    for value in values:
        total, carry = add(total, carry, value)
    assert same(compensated, total + carry)


MEANS = [
    ([1, 2, 6], 3.0),
    ([52.0] * 12, 52.0),
    ([1, 1e100, 1, -1e100], 0.5),
    ([9.9e307] * 4, 9.9e307),
    ([1, INF], INF),
    ([INF, 0, INF], INF),
    ([INF, -INF], NAN),
    ([-INF, 1, -INF], -INF),
    ([NAN, 1], NAN),
]


@pytest.mark.parametrize(("values", "expected"), MEANS)
def test_mean(values, expected):
    """A mean does not overflow where its values do not, and keeps infinities."""
    assert same(expected, mean(values))


def test_running_mean_goes_on_from_the_sum():
    """From the value on that would overflow, the mean is kept running."""
    assert mean([1.0, 3.0, 1.7e308, 1.7e308]) == pytest.approx(0.85e308, rel=1e-15)


OLD_MEANS = [([1, 2, 6], 3.0), ([INF, 3], INF), ([INF, INF], INF), ([INF, -INF], NAN), ([3, INF], INF)]


@pytest.mark.parametrize("is_compensated", [True, False])
@pytest.mark.parametrize(
    ("values", "expected"), [([1, 2, 6], 3.0), ([INF, 3], INF), ([INF, INF], INF), ([INF, -INF], NAN)]
)
def test_incremental_mean(values, expected, is_compensated):
    """The mean of version 2 keeps an infinity until its opposite comes."""
    assert same(expected, incremental_mean(values, is_compensated=is_compensated))


QUANTILES = [
    (0.5, [0, 1], 0.5),
    (0.75, [4, 0, 1], 2.5),
    (0.8, [0, 1, NAN], 0.6000000000000001),
    (0.2, [0, 1, NAN], NAN),
    (-0.1, [1], -INF),
    (1.1, [1], INF),
    (NAN, [1], NAN),
    (1, [1, 2, 3], 3.0),
    (0.5, [], NAN),
]


@pytest.mark.parametrize(("q", "values", "expected"), QUANTILES)
def test_quantile(q, values, expected):
    """A quantile lies between its neighbours; NaN is the smallest value."""
    assert same(expected, quantile(q, values))


CLOSE = [
    (1, 1 + 1e-13, True),
    (1, 1 + 1e-11, False),
    (INF, INF, True),
    (0, 1e-320, True),
    (0, 1e-300, False),
    (NAN, 1, False),
]


@pytest.mark.parametrize(("x", "y", "expected"), CLOSE)
def test_is_close(x, y, expected):
    """Close is what differs by less than the tolerance of the sum of both."""
    assert expected == is_close(x, y, 1e-12)
