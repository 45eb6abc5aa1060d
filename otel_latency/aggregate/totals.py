"""What has been counted so far: numbers, histograms and summaries that can be added up.

Every total is frozen; `plus` makes a new one. Adding is exact: histograms of different bounds keep the bounds that both
have, exponential ones of different scales the coarser scale. `follows` tells a counter that went on from one that began
again.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Protocol, Self

from otel_latency.records import HistogramSeries, Labels, MetricKind, MetricPoint, SummarySeries, ValueSeries

MAX_SCHEMA: Final = 8
MIN_SCHEMA: Final = -4
MAX_NATIVE_BUCKETS: Final = 160
MAX_CLASSIC_BUCKETS: Final = 40
_MAX_COUNT: Final = (1 << 63) - 1

Series = HistogramSeries | SummarySeries | ValueSeries


class Total(Protocol):
    """What one stream has counted since it began."""

    def plus(self, other: Self) -> Self:
        """Both together; *other* is the newer one."""

    def follows(self, earlier: Self) -> bool:
        """Whether this can be *earlier* counted on: nothing in it has fallen."""

    def is_shaped_like(self, other: Self) -> bool:
        """Whether nothing is lost by adding the two."""

    def series(self, labels: Labels, created: float, bounds: Sequence[float]) -> Series:
        """As it is shown; *bounds* are those of classic buckets for totals that have none of their own."""


@dataclass(frozen=True, slots=True)
class Number:
    """A counter's value."""

    value: float

    def plus(self, other: Number) -> Number:
        return Number(finite_sum(self.value, other.value))

    def follows(self, earlier: Number) -> bool:
        return self.value >= earlier.value

    def is_shaped_like(self, _other: Number) -> bool:
        return True

    def series(self, labels: Labels, created: float, _bounds: Sequence[float]) -> ValueSeries:
        return ValueSeries(labels, self.value, created)


@dataclass(frozen=True, slots=True)
class Explicit:
    """A histogram with its own bounds; `counts` are not cumulated and one longer than `bounds`, or both are empty."""

    count: int
    sum: float
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    def plus(self, other: Explicit) -> Explicit:
        if self.count + other.count > _MAX_COUNT:
            return other
        bounds, mine, others = self.bounds, self.counts, other.counts
        if other.bounds != bounds:
            bounds = tuple(sorted(set(bounds) & set(other.bounds)))
            mine, others = self.rebinned(bounds), other.rebinned(bounds)
        counts = tuple(a + b for a, b in zip(mine, others, strict=True)) if bounds else ()
        return Explicit(self.count + other.count, finite_sum(self.sum, other.sum), bounds, counts)

    def follows(self, earlier: Explicit) -> bool:
        return self.count >= earlier.count and (
            self.bounds != earlier.bounds or all(a >= b for a, b in zip(self.counts, earlier.counts, strict=False))
        )

    def is_shaped_like(self, other: Explicit) -> bool:
        return self.bounds == other.bounds

    def series(self, labels: Labels, created: float, _bounds: Sequence[float]) -> HistogramSeries:
        buckets = tuple(zip(self.bounds, accumulate(self.counts), strict=False))
        return HistogramSeries(labels, self.count, self.sum, buckets, created=created)

    def rebinned(self, bounds: Sequence[float]) -> tuple[int, ...]:
        """The counts for *bounds*, all of which are bounds of ours."""
        counts = [0] * (len(bounds) + 1)
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=False):
            counts[bisect_left(bounds, bound)] += count
        return tuple(counts)


@dataclass(frozen=True, slots=True)
class Exponential:
    """A histogram of base-2 exponential buckets by OTLP index; `zero_count` has all values up to zero."""

    count: int
    sum: float
    scale: int
    zero_count: int
    buckets: Mapping[int, int] = field(default_factory=dict)

    def plus(self, other: Exponential) -> Exponential:
        if self.count + other.count > _MAX_COUNT:
            return other
        scale = min(self.scale, other.scale)
        buckets = Counter(self.at_scale(scale))
        buckets.update(other.at_scale(scale))
        count, zero_count = self.count + other.count, self.zero_count + other.zero_count
        return Exponential(count, finite_sum(self.sum, other.sum), scale, zero_count, buckets).fitted()

    def follows(self, earlier: Exponential) -> bool:
        if self.count < earlier.count or self.zero_count < earlier.zero_count:
            return False
        scale = min(self.scale, earlier.scale)
        mine = self.at_scale(scale)
        return all(mine.get(index, 0) >= count for index, count in earlier.at_scale(scale).items())

    def is_shaped_like(self, _other: Exponential) -> bool:
        return True

    def series(self, labels: Labels, created: float, bounds: Sequence[float]) -> HistogramSeries:
        tops = sorted((_octave(index, self.scale), count) for index, count in self.buckets.items())
        running = (0, *accumulate(count for _, count in tops))
        values = [top for top, _ in tops]
        buckets = tuple((bound, self.zero_count + running[bisect_right(values, bound)]) for bound in bounds)
        native = {index + 1: count for index, count in sorted(self.buckets.items())}  # Prometheus counts from one up
        return HistogramSeries(
            labels, self.count, self.sum, buckets, native, self.scale, self.zero_count, created=created
        )

    def at_scale(self, scale: int) -> Mapping[int, int]:
        """The buckets merged down to *scale*, which is not finer than ours."""
        by = self.scale - scale
        if not by:
            return self.buckets
        merged: Counter[int] = Counter()
        for index, count in self.buckets.items():
            merged[index >> by] += count
        return merged

    def fitted(self) -> Exponential:
        """The same at the finest scale that Prometheus has and that needs no more than `MAX_NATIVE_BUCKETS`."""
        scale = min(self.scale, MAX_SCHEMA)
        buckets = self.at_scale(scale)
        while len(buckets) > MAX_NATIVE_BUCKETS and scale > MIN_SCHEMA:
            scale -= 1
            buckets = self.at_scale(scale)
        return Exponential(self.count, self.sum, scale, self.zero_count, buckets)


@dataclass(frozen=True, slots=True)
class Summary:
    """Count and sum, and the quantiles that the sender knew last: those cannot be added."""

    count: int
    sum: float
    quantiles: Sequence[tuple[float, float]] = ()

    def plus(self, other: Summary) -> Summary:
        if self.count + other.count > _MAX_COUNT:
            return other
        return Summary(self.count + other.count, finite_sum(self.sum, other.sum), other.quantiles)

    def follows(self, earlier: Summary) -> bool:
        return self.count >= earlier.count

    def is_shaped_like(self, _other: Summary) -> bool:
        return True

    def series(self, labels: Labels, created: float, _bounds: Sequence[float]) -> SummarySeries:
        return SummarySeries(labels, self.count, self.sum, self.quantiles, created)


def total_of(point: MetricPoint) -> Total:
    """What *point* says that its stream has counted."""
    if point.kind is MetricKind.HISTOGRAM:
        return Explicit(point.count, point.sum, tuple(point.bounds), tuple(point.bucket_counts))
    if point.kind is MetricKind.EXPONENTIAL_HISTOGRAM:
        return Exponential(point.count, point.sum, point.scale, point.zero_count, point.buckets).fitted()
    if point.kind is MetricKind.SUMMARY:
        return Summary(point.count, point.sum, tuple(point.quantiles))
    return Number(point.value)


def classic_bounds(totals: Iterable[Total]) -> Sequence[float]:
    """Bounds at which all the exponential histograms among *totals* can be shown exactly: powers of two.

    One set for all of them, since classic buckets can only be summed over series that have the same. At most
    `MAX_CLASSIC_BUCKETS`; a wider range takes every second power, every fourth, ...
    """
    exponents = [
        _exponent(index, total.scale)
        for total in totals
        if isinstance(total, Exponential) and total.buckets
        for index in (min(total.buckets), max(total.buckets))
    ]
    if not exponents:
        return ()
    low, high, step = min(exponents), min(max(exponents), sys.float_info.max_exp - 1), 1
    while high // step - low // step >= MAX_CLASSIC_BUCKETS:
        step *= 2
    return [2.0**exponent for exponent in range(low - low % step, high + 1, step) if exponent >= low]


def _octave(index: int, scale: int) -> float:
    """The lowest power of two that no value of the bucket exceeds."""
    exponent = _exponent(index, scale)
    return 2.0**exponent if exponent < sys.float_info.max_exp else float("inf")


def _exponent(index: int, scale: int) -> int:
    return (index >> scale) + 1 if scale >= 0 else (index + 1) << -scale


def finite_sum(a: float, b: float) -> float:
    """Kept finite: no reader of ours need know infinity."""
    return min(max(a + b, -sys.float_info.max), sys.float_info.max)
