"""Whether a call was slow is a matter of odds, and why of its tokens."""

from statistics import NormalDist

import pytest

from otel_latency.predict.estimate import LEVELS, Estimate
from otel_latency.predict.slow import probability, slow_call


def lognormal(center, spread):
    return Estimate(tuple(center * 2.718281828 ** (spread * NormalDist().inv_cdf(level)) for level in LEVELS), 60)


WIDE, SHORT, LONG = lognormal(5, 0.6), lognormal(5, 0.1), lognormal(40, 0.1)

CASES = {
    "usual": (6.0, None, None),
    "far beyond anything": (50.0, None, ""),
    "twice as long for the same answer": (10.0, SHORT, "slower per token"),
    "a very long answer at the usual pace": (41.0, LONG, "longer answer"),
    "a long answer, slowly": (60.0, LONG, "slower per token"),
    "late, but not by its answer": (5.1, SHORT, None),
}


@pytest.mark.parametrize(("seconds", "given", "reason"), CASES.values(), ids=CASES)
def test_reason(seconds, given, reason):
    """A call is slow when fewer than one in a hundred take as long: for its kind, or for its answer's length."""
    slow = slow_call(WIDE, seconds, given)
    assert reason == (None if slow is None else slow.reason)


def test_words():
    """What it took, what was expected of it, the odds and the reason."""
    assert (
        "took 10 s where 5 s were expected (less than 1 in 10,000): slower per token"
        == slow_call(WIDE, 10.0, SHORT).text
    )


def test_two_questions():
    """Asking twice does not find twice as much: the errors are shared out."""
    assert probability(WIDE, 20.0, WIDE) > probability(WIDE, 20.0)
