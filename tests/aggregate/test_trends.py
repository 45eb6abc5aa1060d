from math import log
from random import Random
from statistics import quantiles

import pytest

from otel_latency.aggregate.trends import Minute, Trends

LLM = (("service", "bot"), ("stage", "llm"))
CALM = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0]
RESTLESS = [1.0, 1.6, 0.7, 1.3, 0.8, 1.1]

CASES = {
    "slower": (CALM, 1.3, 100, [("p50", "slower", 0.3)]),
    "faster": (CALM, 0.8, 100, [("p50", "faster", -0.2)]),
    "as always": (CALM, 1.01, 100, []),
    "beyond all, but hardly": (CALM, 1.03, 100, []),
    "beyond all, but they scatter": (RESTLESS, 1.7, 100, []),
    "beyond what they scatter": (RESTLESS, 5.0, 100, [("p50", "slower", 3.77)]),
    "too few samples": (CALM, 1.3, 19, []),
    "too few minutes": (CALM[:4], 1.3, 100, []),
    "nothing takes any time": ([0.0] * 6, 1.0, 100, []),
}


@pytest.mark.parametrize(("before", "present", "samples", "expected"), CASES.values(), ids=CASES)
def test_trend(before, present, samples, expected):
    """A median has moved when the minutes before, as they scatter, do not explain it."""
    trends = Trends()
    for number, p50 in enumerate(before):
        trends.add({LLM: Minute(100, p50, 2.0)}, 60.0 * number)
    found = trends.moved({LLM: Minute(samples, present, 2.0)}, 60.0 * len(before))
    assert expected == [(one.percentile, one.direction, round(one.ratio, 2)) for one in found]


def test_minutes_do_not_overlap():
    """However often it is fed, one minute of each sixty seconds is kept; the present one is not among those before."""
    trends = Trends()
    for second in range(420):
        slow = second > 360
        minute = {LLM: Minute(100, 3.0 if slow else 1.0, 3.0 if slow else 1.5)}
        trends.add(minute, float(second))
    assert [("p50", 1.0, 3.0), ("p95", 1.5, 3.0)] == [
        (one.percentile, pytest.approx(one.before), one.now) for one in trends.moved(minute, 419.0)
    ]
    assert [] == trends.moved(minute, 419.0 + 3600)


def test_sparse_minutes_do_not_count():
    """Minutes with a handful of samples say nothing of what is usual."""
    trends = Trends()
    for number in range(10):
        trends.add({LLM: Minute(5, 1.0, 1.0)}, 60.0 * number)
    assert [] == trends.moved({LLM: Minute(100, 9.0, 9.0)}, 600.0)


def test_a_clock_set_back():
    """What was seen at times to come is forgotten."""
    trends = Trends()
    for number in range(10):
        trends.add({LLM: Minute(100, 1.0, 1.0)}, 10_000.0 + 60 * number)
    trends.add({LLM: Minute(100, 1.0, 1.0)}, 100.0)
    assert [] == trends.moved({LLM: Minute(100, 9.0, 9.0)}, 160.0)


def test_noise_is_no_trend():
    """Of a stage whose latencies only scatter, a median or p95 is called other in less than 3 of 100 minutes."""
    random = Random(7)
    trends, found, looks = Trends(), 0, 1500
    for number in range(looks):
        values = [random.lognormvariate(log(0.5), 0.5) for _ in range(60)]
        cuts = quantiles(values, n=20)
        minute = {LLM: Minute(60, cuts[9], cuts[18])}
        found += len(trends.moved(minute, 60.0 * number))
        trends.add(minute, 60.0 * number)
    assert 0 < found <= 0.03 * 2 * looks
