"""Sums over deviations: what they find, when they say it began, and what they leave alone."""

import math
import random

import pytest

from otel_latency.predict.shift import LIMITS, WARM_UP, Call, Watch, tail_evidence

USUAL = 0.3
"""Standard deviation of log seconds."""


def call(time, *, off=0.0, speed=0.0, excess=-1.0):
    evidence = tail_evidence(excess)
    return Call(off / USUAL, speed / USUAL, evidence, 5 * math.exp(off), off, speed, time)


def watched(before, after, *, seed=1):
    """The first change that is found, and after how many calls, when *after* follows 300 calls of *before*."""
    draw, watch = random.Random(seed), Watch()
    for index in range(600):
        change = before if index < 300 else after
        kind = watch.add(call(float(index), **change(draw)))
        if kind is not None:
            return index - 300, watch.announce("openai", "gpt-4o", kind)
    return None, None


def steady(draw):
    return {"off": draw.gauss(0, USUAL), "speed": draw.gauss(0, 0.1), "excess": draw.expovariate(1) - math.log(10)}


def slower(draw):
    return {"off": draw.gauss(0.3, USUAL), "speed": draw.gauss(0.3, 0.1), "excess": draw.expovariate(1) - 1.5}


def longer(draw):
    return {**steady(draw), "off": draw.gauss(0.5, USUAL)}


def tailed(draw):
    return {**steady(draw), "excess": 6.0} if draw.random() < 0.08 else steady(draw)


@pytest.mark.parametrize("seed", range(4))
def test_slower(seed):
    """Found within 40 calls, dated to within 10, sized to within a fifth, and called slower per token."""
    delay, shift = watched(steady, slower, seed=seed)
    assert (True, True, pytest.approx(math.exp(0.3), rel=0.2), "slower per token") == (
        0 <= delay <= 40,
        abs(shift.since - 300) <= 10,
        shift.ratio,
        shift.reason,
    )


def test_longer():
    """Where the pace is the same the answers are longer."""
    _, shift = watched(steady, longer)
    assert ("level", "longer answers") == (shift.kind, shift.reason)


def test_tail():
    """A few calls that are far slower are a change too."""
    delay, shift = watched(steady, tailed)
    assert (True, "tail") == (0 <= delay <= 100, shift.kind)
    assert "more calls are far slower than usual" in shift.text


def test_words():
    """Who, by how much, for how long, from what to what, and why."""
    _, shift = watched(steady, slower)
    before, after = shift.p50
    assert shift.text == (
        f"openai gpt-4o: {shift.ratio:.2f} times as slow for {shift.calls} calls "
        f"(p50 {before:.3g} -> {after:.3g} s): slower per token"
    )


def test_steady():
    """About one alarm in thousands of calls."""
    draw, watch, alarms = random.Random(9), Watch(), 0
    for index in range(20_000):
        kind = watch.add(call(float(index), **steady(draw)))
        if kind is not None:
            watch.announce("", "", kind)
            alarms += 1
    assert alarms <= 12


def test_score():
    """It rises from 0 to 1 as calls become slower, and stays at 1 for a while once that is said."""
    watch = Watch()
    for index in range(WARM_UP):
        watch.add(call(float(index)))
    scores = [watch.score().value]
    while (kind := watch.add(call(0.0, off=0.5, speed=0.0))) is None:
        scores.append(watch.score().value)
    watch.announce("", "", kind)
    assert (0.0, sorted(scores), 1.0) == (scores[0], scores, watch.score().value)


def test_one_outlier():
    """A single call, however slow, is no change of the model."""
    draw, watch = random.Random(3), Watch()
    kinds = [watch.add(call(0.0, **steady(draw))) for _ in range(100)]
    kinds.append(watch.add(call(0.0, off=9.0, speed=9.0, excess=50.0)))
    assert {None} == set(kinds)


def test_kept():
    """Sums and calls survive a restart."""
    draw, watch = random.Random(4), Watch()
    for index in range(120):
        watch.add(call(1e9 + index, **steady(draw)))
    again = Watch()
    again.restore(watch.numbers(), watch.arrays())
    assert (watch.score(), len(watch.calls)) == (again.score(), len(again.calls))
    assert [pytest.approx(each.time, abs=0.01) for each in watch.calls] == [each.time for each in again.calls]
    assert set(LIMITS) == set(again.sums)
