"""Functions of a range: what the samples of a window come to.

`rate`, `increase`, `delta`, `resets` and `changes` look at the ends of the window and at the places in between where
the value fell or changed; all others go through its samples once.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from otel_latency.rules.promql.arithmetic import (
    NAN,
    add,
    compensated_sum,
    divide,
    incremental_mean,
    mean,
    quantile,
)
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.series import Series


class Span(NamedTuple):
    """The window of a range: its bounds without any offset undone, and the moment of the evaluation."""

    start_ms: int
    end_ms: int
    at_ms: int
    semantics: Semantics


Window: TypeAlias = Callable[[Series, int, int], float | None]
"""Answers the value of a series' samples from the first place to before the second; None: no element."""

RangeFunction: TypeAlias = Callable[[Span, float], Window]
"""Makes the function of a window; the number is the scalar argument of the few that have one."""

_THRESHOLD = 1.1  # of the mean distance: a window's end further away than this is not extrapolated to


def _extrapolated(*, is_counter: bool, is_rate: bool) -> RangeFunction:
    def make(span: Span, _: float) -> Window:
        start_ms, end_ms = span.start_ms, span.end_ms
        cuts_before = span.semantics == 2
        per = (end_ms - start_ms) / 1000 if is_rate else 1.0

        def window(series: Series, first: int, stop: int) -> float | None:
            last = stop - 1
            if last <= first:
                return None
            times, values = series.times, series.values
            first_ms, last_ms, first_value = times[first], times[last], values[first]
            gain = values[last] - first_value
            if is_counter:
                for place in series.resets(first, last):
                    gain += values[place - 1]
            sampled = (last_ms - first_ms) / 1000
            distance = sampled / (last - first)
            to_start = (first_ms - start_ms) / 1000
            to_end = (end_ms - last_ms) / 1000
            to_zero = sampled * (first_value / gain) if is_counter and gain > 0 and first_value >= 0 else math.inf
            if cuts_before and to_zero < to_start:
                to_start = to_zero
            if to_start >= distance * _THRESHOLD:
                to_start = distance / 2
            to_start = min(to_start, to_zero)
            if to_end >= distance * _THRESHOLD:
                to_end = distance / 2
            return gain * ((sampled + to_start + to_end) / sampled / per)

        return window

    return make


def _last_two(*, is_rate: bool) -> RangeFunction:
    def window(series: Series, first: int, stop: int) -> float | None:
        if stop - first < 2:
            return None
        before, value = series.values[stop - 2 : stop]
        change = value if is_rate and value < before else value - before
        return change / ((series.times[stop - 1] - series.times[stop - 2]) / 1000) if is_rate else change

    return lambda _, __: window


def _resets(_: Span, __: float) -> Window:
    return lambda series, first, stop: float(len(series.resets(first, stop - 1)))


def _changes(_: Span, __: float) -> Window:
    return lambda series, first, stop: float(len(series.changes(first, stop - 1)))


def _deriv(span: Span, _: float) -> Window:
    def window(series: Series, first: int, stop: int) -> float | None:
        if stop - first < 2:
            return None
        return _regression(series, first, stop, series.times[first], span.semantics)[0]

    return window


def _predict_linear(span: Span, ahead: float) -> Window:
    def window(series: Series, first: int, stop: int) -> float | None:
        if stop - first < 2:
            return None
        slope, intercept = _regression(series, first, stop, span.at_ms, span.semantics)
        return slope * ahead + intercept

    return window


def _regression(series: Series, first: int, stop: int, zero_ms: int, semantics: Semantics) -> tuple[float, float]:
    """Slope per second, and value at *zero_ms*, of the line of least squares."""
    values = series.values[first:stop]
    if all(value == values[0] for value in values):
        return (NAN, NAN) if math.isinf(values[0]) else (0.0, values[0])
    seconds = [(at_ms - zero_ms) / 1000 for at_ms in series.times[first:stop]]
    count = len(values)
    sum_x, sum_y = compensated_sum(seconds), compensated_sum(values)
    sum_xy = compensated_sum([x * y for x, y in zip(seconds, values, strict=True)])
    sum_xx = compensated_sum([x * x for x in seconds])
    if semantics == 2 and not (math.isfinite(sum_y) and math.isfinite(sum_xy)):
        return NAN, NAN  # its sums carry on the rounding error of an infinity
    slope = divide(sum_xy - sum_x * sum_y / count, sum_xx - sum_x * sum_x / count)
    return slope, sum_y / count - slope * sum_x / count


def _of_values(function: Callable[[array[float]], float]) -> RangeFunction:
    """A function that asks for nothing but the values."""

    def window(series: Series, first: int, stop: int) -> float:
        return function(series.values[first:stop])

    return lambda _, __: window


def _avg_over_time(span: Span, _: float) -> Window:
    if span.semantics == 2:
        return lambda series, first, stop: incremental_mean(series.values[first:stop], is_compensated=True)
    return lambda series, first, stop: mean(series.values[first:stop])


def _quantile_over_time(_: Span, q: float) -> Window:
    return lambda series, first, stop: quantile(q, series.values[first:stop])


def _count_over_time(_: Span, __: float) -> Window:
    return lambda _, first, stop: float(stop - first)


def _last_over_time(_: Span, __: float) -> Window:
    return lambda series, _, stop: series.values[stop - 1]


def _present_over_time(_: Span, __: float) -> Window:
    return lambda _, __, ___: 1.0


def lowest(values: array[float] | list[float]) -> float:
    """The smallest value that is not NaN, if there is one."""
    result = values[0]
    for value in values:
        if value < result or result != result:  # noqa: PLR0124 - NaN
            result = value
    return result


def highest(values: array[float] | list[float]) -> float:
    """The largest value that is not NaN, if there is one."""
    result = values[0]
    for value in values:
        if value > result or result != result:  # noqa: PLR0124 - NaN
            result = value
    return result


def _variance(values: array[float]) -> float:
    """Welford's variance of a population, compensated: that of equal values is exactly zero."""
    middle = middle_carry = squares = squares_carry = 0.0
    for count, value in enumerate(values, 1):
        delta = value - (middle + middle_carry)
        middle, middle_carry = add(middle, middle_carry, delta / count)
        squares, squares_carry = add(squares, squares_carry, delta * (value - (middle + middle_carry)))
    return (squares + squares_carry) / len(values)


RANGE_FUNCTIONS: Mapping[str, RangeFunction] = {
    "avg_over_time": _avg_over_time,
    "changes": _changes,
    "count_over_time": _count_over_time,
    "delta": _extrapolated(is_counter=False, is_rate=False),
    "deriv": _deriv,
    "idelta": _last_two(is_rate=False),
    "increase": _extrapolated(is_counter=True, is_rate=False),
    "irate": _last_two(is_rate=True),
    "last_over_time": _last_over_time,
    "max_over_time": _of_values(highest),
    "min_over_time": _of_values(lowest),
    "predict_linear": _predict_linear,
    "present_over_time": _present_over_time,
    "quantile_over_time": _quantile_over_time,
    "rate": _extrapolated(is_counter=True, is_rate=True),
    "resets": _resets,
    "stddev_over_time": _of_values(lambda values: math.sqrt(_variance(values))),
    "stdvar_over_time": _of_values(_variance),
    "sum_over_time": _of_values(compensated_sum),
}
