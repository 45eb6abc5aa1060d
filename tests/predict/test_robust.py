"""Simple estimates keep their promises on data with a known distribution."""

import math
import random

import pytest

from otel_latency.predict.robust import USUAL_SECONDS, Past, estimate_from


def calls(count, seed, *, slope=0.0):
    """Log-normal durations with a median of 5 s at 500 tokens, growing with the prompt by the power *slope*."""
    draw = random.Random(seed)
    for _ in range(count):
        tokens = draw.choice((125, 250, 500, 1000, 2000))
        yield Past(5 * (tokens / 500) ** slope * math.exp(draw.gauss(0, 0.4)), tokens)


def test_nothing_known():
    """Without any history it says what LLM calls in general take, and says it broadly."""
    estimate = estimate_from([])
    assert (pytest.approx(USUAL_SECONDS), 0, True) == (
        estimate.seconds,
        estimate.samples,
        estimate.high > 2 * estimate.low,
    )


def test_one_call():
    """One call moves the point, and hardly narrows the range."""
    estimate = estimate_from([Past(2.0)])
    assert (pytest.approx(2.0), True) == (estimate.seconds, estimate.high > 2 * estimate.low)


@pytest.mark.parametrize(("count", "most"), [(10, 0.95), (50, 0.9), (200, 0.85)])
def test_coverage(count, most):
    """The range holds about eight of ten calls to come, and rather more while little is known."""
    hits = [
        estimate.low <= coming.seconds <= estimate.high
        for seed in range(60)
        for estimate in [estimate_from(list(calls(count, seed)))]
        for coming in calls(20, 1000 + seed)
    ]
    assert 0.75 <= sum(hits) / len(hits) <= most


def test_confidence_is_calibrated():
    """The confidence is the share of calls that come within 25 % of the point."""
    pairs = [
        (estimate.confidence, 0.75 <= coming.seconds / estimate.seconds <= 1.25)
        for seed in range(60)
        for estimate in [estimate_from(list(calls(100, seed)))]
        for coming in calls(20, 1000 + seed)
    ]
    said, true = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    assert abs(said - true) < 0.06


def test_prompt_size():
    """Where latency grows with the prompt, so does the estimate; where it does not, it stays."""
    grows, flat = (
        [estimate_from(list(calls(100, 3, slope=slope)), input_tokens=size).seconds for size in (125, 2000)]
        for slope in (0.8, 0.0)
    )
    assert (True, True) == (grows[1] / grows[0] > 5, 0.7 < flat[1] / flat[0] < 1.5)


def test_one_outlier():
    """A single call that took forever does not move the point."""
    usual = [Past(5.0 + each / 10) for each in range(20)]
    assert pytest.approx(estimate_from(usual).seconds, rel=0.02) == estimate_from([*usual, Past(3600.0)]).seconds


def test_kin():
    """Calls that are only similar stand in while there are none."""
    kin = [Past(3.0)] * 20
    assert pytest.approx(3.0) == estimate_from([], kin=kin).seconds
    assert pytest.approx(1.0) == estimate_from([Past(1.0)], kin=kin).seconds
