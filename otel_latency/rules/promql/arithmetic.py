"""Floating point as Go has it: no exception, but an infinity or NaN, and sums that carry their rounding error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

INF = math.inf
NAN = math.nan


def divide(x: float, y: float) -> float:
    if y:
        return x / y
    return NAN if not x or x != x else math.copysign(INF, x) * math.copysign(1.0, y)  # noqa: PLR0124 - NaN


def modulo(x: float, y: float) -> float:
    """The remainder with the sign of *x*."""
    try:
        return math.fmod(x, y)
    except ValueError:
        return NAN


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        return _signed(x, y)
    except ValueError:
        return _signed(x, y) if x == 0 else NAN


def _signed(x: float, y: float) -> float:
    """An infinity; below zero when an odd power of something negative."""
    return -INF if math.copysign(1.0, x) < 0 and abs(math.fmod(y, 2.0)) == 1.0 else INF


def floor(x: float) -> float:
    return math.copysign(math.floor(x), x) if math.isfinite(x) else x


def ceil(x: float) -> float:
    return math.copysign(math.ceil(x), x) if math.isfinite(x) else x


def smaller(x: float, y: float) -> float:
    """The smaller of two; NaN wins over all but -Inf."""
    if x == -INF or y == -INF:
        return -INF
    if x != x or y != y:  # noqa: PLR0124 - NaN
        return NAN
    return min(x, y)


def larger(x: float, y: float) -> float:
    """The larger of two; NaN wins over all but +Inf."""
    return -smaller(-x, -y)


def guarded(
    call: Callable[[float], float], overflow: Callable[[float], float] = lambda _: NAN
) -> Callable[[float], float]:
    """*call*, with NaN where it is not defined and *overflow* where its result is too large."""

    def safe(x: float) -> float:
        try:
            return call(x)
        except ValueError:
            return NAN
        except OverflowError:
            return overflow(x)

    return safe


def add(sum_: float, carry: float, x: float) -> tuple[float, float]:
    """One step of Kahan's sum as Neumaier improved it: the new sum, and what rounding lost so far."""
    result = sum_ + x
    if result - result != 0.0:  # an infinity or NaN has lost nothing
        return result, 0.0
    if abs(sum_) >= abs(x):
        return result, carry + ((sum_ - result) + x)
    return result, carry + ((x - result) + sum_)


def compensated_sum(values: Iterable[float]) -> float:
    result = carry = 0.0
    for value in values:
        before = result
        result += value
        if result - result != 0.0:
            carry = 0.0
        elif abs(before) >= abs(value):
            carry += (before - result) + value
        else:
            carry += (value - result) + before
    return result + carry


def plain_sum(values: Iterable[float]) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


def mean(values: Sequence[float]) -> float:
    """The compensated sum by the count; kept as a running mean from the moment that the sum would overflow."""
    sum_, carry = values[0], 0.0
    for count in range(1, len(values)):
        new_sum, new_carry = add(sum_, carry, values[count])
        if math.isinf(new_sum):
            return _running_mean(values[count:], count, sum_ / count, carry / count)
        sum_, carry = new_sum, new_carry
    return sum_ / len(values) + carry / len(values)


def _running_mean(values: Sequence[float], count: int, so_far: float, carry: float) -> float:
    """The mean of *values* and of *count* earlier ones whose mean was *so_far*."""
    for count_now, value in enumerate(values, count + 1):
        share = (count_now - 1) / count_now
        so_far, carry = add(share * so_far, share * carry, value / count_now)
    return so_far + carry


def incremental_mean(values: Sequence[float], *, is_compensated: bool) -> float:
    """The mean as Prometheus 2 computes it; an infinity stays unless its opposite or NaN comes."""
    so_far = carry = 0.0
    for count, value in enumerate(values, 1):
        if math.isinf(so_far) and (math.isfinite(value) or so_far == value):
            continue
        step = value / count - so_far / count
        if is_compensated:
            so_far, carry = add(so_far, carry, step)
        else:
            so_far += step
    return so_far + carry


def quantile(q: float, values: Iterable[float]) -> float:
    """The *q*-quantile, interpolated between neighbours; NaN counts as the smallest value."""
    ordered = sorted(values, key=_nan_first)
    if not ordered or q != q:  # noqa: PLR0124 - NaN
        return NAN
    if not 0 <= q <= 1:
        return math.copysign(INF, q)
    rank = q * (len(ordered) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] * (1 - weight) + ordered[upper] * weight


def _nan_first(value: float) -> tuple[bool, float]:
    return (True, value) if value == value else (False, 0.0)  # noqa: PLR0124 - NaN


def is_close(x: float, y: float, tolerance: float) -> bool:
    """Whether two values differ by less than *tolerance* of their sum."""
    if x == y:
        return True
    size = abs(x) + abs(y)
    if not x or not y or size < 2.2250738585072014e-308:
        return abs(x - y) < tolerance * 2.2250738585072014e-308
    return abs(x - y) / min(size, 1.7976931348623157e308) < tolerance
