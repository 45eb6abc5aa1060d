"""An estimate is a distribution, and everything shown is read off it."""

from statistics import NormalDist

import pytest

from otel_latency.predict.estimate import LEVELS, Estimate

SPREAD = 0.3
LOGNORMAL = Estimate(tuple(10 * 2.718281828 ** (SPREAD * NormalDist().inv_cdf(level)) for level in LEVELS), 60)


def test_point_and_range():
    """The point is the median; one in ten is below the range and one in ten above."""
    assert pytest.approx((10.0, 6.81, 14.69), rel=0.01) == (LOGNORMAL.seconds, LOGNORMAL.low, LOGNORMAL.high)


@pytest.mark.parametrize("p", [0.03, 0.1, 0.37, 0.5, 0.93, 0.98, 0.995])
def test_tail_inverts_quantile(p):
    """The probability of exceeding a quantile is what is left of it."""
    assert pytest.approx(1 - p, abs=1e-9) == LOGNORMAL.tail(LOGNORMAL.quantile(p))


def test_confidence():
    """It is the share of durations within 25 % of the point: the same as the true distribution has."""
    true = NormalDist(0, SPREAD)
    expected = true.cdf(0.2231) - true.cdf(-0.2877)
    assert pytest.approx(expected, abs=0.02) == LOGNORMAL.confidence


def test_inconsistent_data_lower_the_confidence():
    """The wider the spread, the less likely is the point."""
    narrow, wide = (Estimate(tuple(5 * factor**each for each in range(13)), 60) for factor in (1.01, 1.5))
    assert (True, True) == (narrow.confidence > 0.95, wide.confidence < 0.5)


def test_remaining():
    """What is left is conditional on still running: it shrinks at first, and is never nothing."""
    left = [LOGNORMAL.remaining(elapsed).seconds for elapsed in (0, 5, 10, 15, 40)]
    assert (10.0, True, True) == (pytest.approx(left[0]), left[1] < left[0], all(each > 0.4 for each in left))


def test_remaining_of_identical_durations():
    """Even after a thousand equal calls, a late one has something left."""
    assert Estimate((2.0,) * 13, 1000).remaining(10.0).seconds > 0.1


WORDS = {
    0: ("low", "estimated 6.8–15 seconds (limited historical data)"),
    9: ("low", "estimated 6.8–15 seconds (limited historical data)"),
    10: ("medium", "usually takes 6.8–15 seconds"),
    49: ("medium", "usually takes 6.8–15 seconds"),
    50: ("high", "typically takes 6.8–15 seconds"),
}


@pytest.mark.parametrize(("samples", "level", "text"), [(count, *words) for count, words in WORDS.items()])
def test_words(samples, level, text):
    """The words follow the number of samples."""
    estimate = Estimate(LOGNORMAL.quantiles, samples)
    assert (level, text) == (estimate.level, estimate.text)


ROUNDED = {
    (0.318, 0.352): "0.31–0.36 seconds",
    (12.3, 27.1): "12–28 seconds",
    (2.0, 3.0): "2.0–3.0 seconds",
    (130, 154): "130–160 seconds",
}


@pytest.mark.parametrize(("range_", "text"), ROUNDED.items())
def test_rounded_outwards(range_, text):
    """Two digits, and the true range lies within the shown one."""
    low, high = range_
    quantiles = (low,) * 6 + ((low + high) / 2,) + (high,) * 6
    assert text == Estimate(quantiles, 60).range_text


def test_shown_end():
    """While it runs the upper end that was shown stays, until it has passed; then it says so."""
    high, ends = LOGNORMAL.high, []
    for tenth in range(1, 300):
        text = LOGNORMAL.remaining(tenth / 10).text
        assert ("longer than 9 in 10" in text) == (tenth / 10 >= high)
        if "\N{EN DASH}" in text and "longer" not in text:
            ends.append(tenth / 10 + float(text.split("\N{EN DASH}")[1].split()[0]))
    assert (True, True) == (len(ends) > 20, all(high <= end <= high + 1 for end in ends))


def test_rest_of_rest():
    """What is left of what is left counts from the beginning."""
    once, twice = LOGNORMAL.remaining(8.0), LOGNORMAL.remaining(5.0).remaining(3.0)
    assert (8.0, pytest.approx(once.seconds, rel=0.1)) == (twice.elapsed, twice.seconds)
