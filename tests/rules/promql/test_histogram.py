"""Quantiles of classic histograms."""

import math

import pytest
from rules.promql.asking import ask

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql.histogram import bucket_quantile

INF, NAN = math.inf, math.nan
EVEN = [(0.1, 10), (0.5, 20), (1, 40), (INF, 50)]
QUANTILES = {
    "inside a bucket": (0.5, EVEN, 0.625),
    "inside the lowest": (0.1, EVEN, 0.05),
    "of the first": (0, EVEN, 0.0),
    "at a bound": (0.4, EVEN, 0.5),
    "in the highest": (0.9, EVEN, 1.0),
    "above the bounds": (1, EVEN, 1.0),
    "in any order": (0.5, EVEN[::-1], 0.625),
    "the lowest bound is below zero": (0.1, [(-1, 10), (1, 20), (INF, 20)], -1.0),
    "no bucket to infinity": (0.5, EVEN[:-1], NAN),
    "nothing but the bucket to infinity": (0.5, EVEN[-1:], NAN),
    "nothing counted": (0.5, [(1, 0), (INF, 0)], NAN),
    "too small": (-0.1, EVEN, -INF),
    "too large": (1.1, EVEN, INF),
    "no number": (NAN, EVEN, NAN),
    "a count falls": (0.5, [(0.1, 20), (0.5, 10), (1, 40), (INF, 40)], 0.1),
    "one bound twice": (0.5, [(0.1, 5), (0.1, 5), *EVEN[1:]], 0.625),
    "a count is NaN": (0.1, [(0.1, 10), (0.5, NAN), (1, 40), (INF, 40)], NAN),
}


@pytest.mark.parametrize(("q", "buckets", "expected"), QUANTILES.values(), ids=QUANTILES)
def test_quantile(q, buckets, expected):
    """Within a bucket values are taken as evenly spread, from zero on in the lowest."""
    assert bucket_quantile(q, buckets, 3) == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_rounding_is_no_observation():
    """In version 3 a bucket that exceeds the one before by rounding alone holds nothing; in version 2 it does."""
    buckets = [(1, 100.0), (10, 100.0 + 3e-14), (INF, 100.0 + 3e-14)]
    assert bucket_quantile(1.0, buckets, 3) == 1.0
    assert bucket_quantile(1.0, buckets, 2) == 10.0


SERIES = """
    b{le="0.1",s="llm"} 0+10x10
    b{le="1",s="llm"} 0+20x10
    b{le="+Inf",s="llm"} 0+20x10
    b{le="0.1",s="tts"} 0+0x10
    b{le="1",s="tts"} 0+10x10
    b{le="+Inf",s="tts"} 0+10x10
    b{le="",s="none"} 1x10
    b{le="soon",s="none"} 1x10
    b{le="1_0",s="none"} 1x10
"""


def test_of_rates():
    """Each histogram gives one element, without name and bound; what has no bound is passed over."""
    expected = {'{s="llm"}': pytest.approx(0.82), '{s="tts"}': pytest.approx(0.91)}
    assert expected == ask("histogram_quantile(0.9, rate(b[50s]))", SERIES, at=100)


def test_of_sums():
    """Buckets that were added up are a histogram as well."""
    assert {"{}": pytest.approx(0.865)} == ask("histogram_quantile(0.9, sum by (le) (rate(b[50s])))", SERIES, at=100)


def test_two_names():
    """Histograms of two metrics are not mixed, and become the same when their names go."""
    series = 'x{le="1"} 1\nx{le="+Inf"} 2\ny{le="1"} 3\ny{le="+Inf"} 4'
    with pytest.raises(EvaluationError, match="same labelset"):
        ask('histogram_quantile(0.5, {__name__=~"x|y"})', series)
