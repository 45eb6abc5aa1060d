"""Totals add up exactly, whatever their shapes."""

from collections import Counter
from math import inf, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.aggregate.totals import (
    MAX_CLASSIC_BUCKETS,
    MAX_NATIVE_BUCKETS,
    Explicit,
    Exponential,
    Number,
    Summary,
    classic_bounds,
)
from otel_latency.records import HistogramSeries, SummarySeries, ValueSeries


def test_numbers():
    """Numbers add and stay finite."""
    assert Number(5.0) == Number(2.0).plus(Number(3.0))
    assert Number(1.7976931348623157e308) == Number(1.7e308).plus(Number(1.7e308))


def test_explicit_of_the_same_bounds():
    """Histograms of the same bounds add bucket by bucket."""
    assert Explicit(6, 4.0, (1, 2), (1, 2, 3)) == Explicit(4, 3.0, (1, 2), (1, 0, 3)).plus(
        Explicit(2, 1.0, (1, 2), (0, 2, 0))
    )


def test_explicit_of_other_bounds():
    """Histograms of different bounds keep those that both have, and exact counts for them."""
    assert Explicit(10, 2.0, (2,), (4, 6)) == Explicit(6, 1.0, (1, 2), (1, 2, 3)).plus(
        Explicit(4, 1.0, (2, 5), (1, 1, 2))
    )


@pytest.mark.parametrize("other", [Explicit(2, 1.0), Explicit(2, 1.0, (7,), (1, 1))], ids=["none", "nothing in common"])
def test_explicit_without_common_bounds(other):
    """Count and sum stay exact where no bound is shared."""
    assert Explicit(8, 2.0) == Explicit(6, 1.0, (1, 2), (1, 2, 3)).plus(other)


def test_explicit_series():
    """Shown buckets are cumulated; the last one, +Inf, is the count."""
    expected = HistogramSeries((("a", "b"),), 6, 4.0, ((1, 1), (2, 3)), created=5.0)
    assert expected == Explicit(6, 4.0, (1, 2), (1, 2, 3)).series((("a", "b"),), 5.0, ())


FOLLOWS = {
    "the same": (Explicit(3, 1.0, (1,), (1, 2)), Explicit(3, 1.0, (1,), (1, 2)), True),
    "more": (Explicit(5, 1.0, (1,), (1, 4)), Explicit(3, 1.0, (1,), (1, 2)), True),
    "a bucket that fell": (Explicit(5, 1.0, (1,), (0, 5)), Explicit(3, 1.0, (1,), (1, 2)), False),
    "fewer": (Explicit(2, 1.0, (1,), (1, 1)), Explicit(3, 1.0, (1,), (1, 2)), False),
    "a smaller number": (Number(1.0), Number(2.0), False),
    "a larger number": (Number(2.0), Number(1.0), True),
    "a coarser scale": (Exponential(3, 1.0, 0, 0, {0: 3}), Exponential(3, 1.0, 1, 0, {0: 1, 1: 2}), True),
    "an exponential bucket that fell": (
        Exponential(4, 1.0, 0, 0, {0: 1, 5: 3}),
        Exponential(3, 1.0, 0, 0, {0: 3}),
        False,
    ),
    "fewer zeros": (Exponential(4, 1.0, 0, 0, {0: 4}), Exponential(3, 1.0, 0, 1, {0: 2}), False),
    "a summary of fewer": (Summary(1, 1.0), Summary(2, 1.0), False),
}


@pytest.mark.parametrize(("total", "earlier", "expected"), FOLLOWS.values(), ids=FOLLOWS)
def test_follows(total, earlier, expected):
    """A total in which something fell was begun anew."""
    assert expected == total.follows(earlier)


def test_exponential_of_other_scales():
    """The coarser scale is kept, and every observation with it."""
    fine, coarse = Exponential(4, 1.0, 2, 1, {4: 1, 7: 1, 8: 1}), Exponential(3, 2.0, 0, 0, {1: 2, -1: 1})
    expected = Exponential(7, 3.0, 0, 1, {1: 4, 2: 1, -1: 1})
    assert expected == fine.plus(coarse)
    assert expected == coarse.plus(fine)


def test_exponential_fits_prometheus():
    """Scales beyond Prometheus' eight are merged down, and so are very many buckets."""
    assert Exponential(2, 1.0, 8, 0, {1: 1, -1: 1}) == Exponential(2, 1.0, 12, 0, {31: 1, -1: 1}).fitted()
    fitted = Exponential(1000, 1.0, 5, 0, dict.fromkeys(range(1000), 1)).fitted()
    assert (2, 125, 1000) == (fitted.scale, len(fitted.buckets), sum(fitted.buckets.values()))
    assert len(fitted.buckets) <= MAX_NATIVE_BUCKETS


def test_exponential_series():
    """Native buckets are numbered as Prometheus does, one above OTLP; classic ones lie at powers of two."""
    total = Exponential(10, 9.0, 1, 3, {0: 1, 1: 2, 2: 4})  # up to sqrt(2), 2 and 2 sqrt(2)
    expected = HistogramSeries(
        (), 10, 9.0, ((2.0, 6), (4.0, 10)), {1: 1, 2: 2, 3: 4}, schema=1, zero_count=3, created=5.0
    )
    assert expected == total.series((), 5.0, classic_bounds([total]))


def test_classic_bounds_are_shared():
    """All exponential histograms of a family show the same bounds, from the least to the largest value of any."""
    totals = [Exponential(1, 1.0, 0, 0, {0: 1}), Exponential(1, 1.0, -1, 0, {1: 1}), Explicit(1, 1.0, (5,), (1, 0))]
    assert [2.0, 4.0, 8.0, 16.0] == classic_bounds(totals)


@pytest.mark.parametrize("totals", [[], [Exponential(1, 0.0, 0, 1)], [Number(1.0)]], ids=["none", "zeros", "a number"])
def test_no_classic_bounds(totals):
    """Without a positive observation there are no bounds."""
    assert () == classic_bounds(totals)


def test_classic_bounds_of_all_doubles():
    """Even the whole range of doubles takes few bounds, all of them finite."""
    bounds = classic_bounds([Exponential(2, 1.0, 0, 0, {-1075: 1, 1023: 1})])
    assert (True, True, True) == (len(bounds) <= MAX_CLASSIC_BUCKETS, bounds == sorted(bounds), inf not in bounds)


@given(
    st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=50),
    st.integers(-4, 8),
    st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_classic_buckets_of_an_exponential_are_exact(values, scale, zeros):
    """At each bound the classic bucket counts just the values that are no larger."""
    indices = Counter()
    for value in values:
        # The bucket above a bound, and not the one below: a value on the bound itself is drawn too seldom to matter.
        indices[int(log2(value) * 2.0**scale // 1)] += 1
    total = Exponential(len(values) + zeros, 1.0, scale, zeros, dict(indices))
    series = total.series((), 0.0, classic_bounds([total]))
    for bound, count in series.buckets:
        assert zeros + sum(n for i, n in indices.items() if (i + 1) * 2.0**-scale <= log2(bound)) == count


@given(st.lists(st.tuples(st.integers(-4, 8), st.dictionaries(st.integers(-900, 900), st.integers(1, 9), max_size=20))))
@settings(max_examples=100, deadline=None)
def test_adding_exponentials_loses_nothing(parts):
    """However many histograms of however many scales are added, every observation stays counted."""
    total = Exponential(0, 0.0, 8, 0)
    for scale, buckets in parts:
        total = total.plus(Exponential(sum(buckets.values()), 0.0, scale, 0, buckets))
    assert total.count == sum(total.buckets.values()) == sum(sum(buckets.values()) for _, buckets in parts)


def test_summary():
    """Counts and sums add; the quantiles are the newer ones."""
    total = Summary(1, 2.0, ((0.5, 1.0),)).plus(Summary(3, 4.0, ((0.5, 9.0),)))
    assert SummarySeries((), 4, 6.0, ((0.5, 9.0),), 7.0) == total.series((), 7.0, ())


@pytest.mark.parametrize("total", [Explicit(2**62, 1.0), Exponential(2**62, 1.0, 0, 2**62), Summary(2**62, 1.0)])
def test_counts_wrap(total):
    """A count that would not fit into 64 bits begins anew."""
    assert total == total.plus(total)


def test_value_series():
    """A number is shown as it is."""
    assert ValueSeries((), 3.0, 1.0) == Number(3.0).series((), 1.0, ())
