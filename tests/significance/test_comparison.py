from math import log
from random import Random

import pytest

from otel_latency.significance.comparison import compare


def lognormal(seed, count=500, median=0.5, spread=0.3):
    random = Random(seed)
    return [random.lognormvariate(log(median), spread) for _ in range(count)]


def verdicts(a, b):
    return {one.stage: one.verdict for one in compare(a, b)}


def test_shift():
    """A stage that became a tenth slower is called slower, one that became faster faster, and the third the same."""
    a = {"llm": lognormal(1), "tts": lognormal(2), "stt": lognormal(3)}
    b = {"llm": lognormal(4, median=0.55), "tts": lognormal(5, median=0.44), "stt": lognormal(6)}
    assert {"llm": "slower", "tts": "faster", "stt": "same"} == verdicts(a, b)


def test_figures():
    """Medians, 95th percentiles and their ratios are those of the samples; the intervals hold the true shift."""
    a, b = lognormal(1, 2000), lognormal(2, 2000, median=0.6)
    [found] = compare({"llm": a}, {"llm": b})
    assert (sorted(a)[999], sorted(b)[999]) == (found.p50.a, found.p50.b)
    assert (sorted(a)[1899], sorted(b)[1899]) == (found.p95.a, found.p95.b)
    assert found.p50.b / found.p50.a - 1 == pytest.approx(found.p50.ratio)
    assert found.p50.interval.low < 0.2 < found.p50.interval.high
    assert found.p95.interval.low < 0.2 < found.p95.interval.high
    assert (2000, 2000) == (found.count_a, found.count_b)


def test_intervals_cover():
    """The interval of a median's shift holds the true one in about 95 of 100 cases."""
    covered = 0
    for seed in range(300):
        [found] = compare({"x": lognormal(2 * seed, 150)}, {"x": lognormal(2 * seed + 1, 150, median=0.55)})
        covered += found.p50.interval.low <= 0.1 <= found.p50.interval.high
    assert 0.92 <= covered / 300 <= 0.995


def test_few_samples():
    """Three samples a side prove nothing, however far apart, and have no interval; five do."""
    [three] = compare({"x": [1.0, 1.1, 1.2]}, {"x": [9.0, 9.1, 9.2]})
    assert ("same", None) == (three.verdict, three.p50.interval)
    five = compare({"x": [1.0, 1.1, 1.2, 1.3, 1.4]}, {"x": [9.0, 9.1, 9.2, 9.3, 9.4]})
    assert "slower" == five[0].verdict


@pytest.mark.parametrize("many", [[1.0] * 12, [1.0] * 40, [1.0 + n / 1000 for n in range(40)]])
def test_one_sample(many):
    """One sample against a few dozen proves nothing, on either side and however alike those are."""
    for sides in (([9.0], many), (many, [9.0])):
        assert "same" == compare(*({"x": side} for side in sides))[0].verdict


def test_tail():
    """A stage whose slowest calls multiply is slower, though its median is where it was."""
    b = [value * 5 if index % 12 == 0 else value for index, value in enumerate(lognormal(2))]
    [found] = compare({"llm": lognormal(1)}, {"llm": b})
    assert "slower" == found.verdict
    assert abs(found.p50.ratio) < 0.05 < 0.5 < found.p95.ratio


def test_order_of_stages():
    """Stages come in the order of the first run; what only one of them has is left out."""
    a = {"stt": [1.0], "llm": [1.0], "old": [1.0], "tts": []}
    b = {"new": [1.0], "llm": [1.0], "stt": [1.0], "tts": [1.0]}
    assert ["stt", "llm"] == [one.stage for one in compare(a, b)]


def test_the_same_samples_count_once():
    """A request of one stage has a total of the same samples: looking at both is looking once."""
    a, b = lognormal(1, 60), lognormal(2, 60, median=0.56)
    [alone] = compare({"llm": a}, {"llm": b})
    assert alone.p_value == compare({"llm": a, "total": a}, {"llm": b, "total": b})[0].p_value
    other = {"a": {"llm": a, "tts": lognormal(3, 60)}, "b": {"llm": b, "tts": lognormal(4, 60)}}
    assert alone.p_value * 2 == pytest.approx(compare(**other)[0].p_value)


def test_zeros():
    """Stages that take no time at all are compared like others."""
    [found] = compare({"x": [0.0] * 50}, {"x": [0.0] * 50})
    assert ("same", 0.0, 1.0) == (found.verdict, found.p50.ratio, found.p_value)
    assert {"x": "slower"} == verdicts({"x": [0.0] * 50}, {"x": [0.01] * 50})


def test_slow_spells():
    """Runs that wander (each call resembles the one before) are not called different more often than others."""
    alarms = 0
    for seed in range(200):
        random = Random(seed)
        sides = []
        for _ in range(2):
            state, side = 0.0, []
            for _ in range(300):
                state = 0.6 * state + random.gauss(0, 0.2)
                side.append(0.5 * 2**state)
            sides.append({"llm": side})
        alarms += verdicts(*sides) != {"llm": "same"}
    assert alarms <= 16  # 3.5 % are 7; without regard to the resemblance it is 60
