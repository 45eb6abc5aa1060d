"""Time per output token, against streams with a known start and pace."""

import random

import pytest

from otel_latency.predict import Predictor
from otel_latency.predict.tokens import TokenTime


def fitted(calls, *, start=0.5, each=0.02, crowd=0.0, lengths=(20, 400), seed=1):
    draw, known = random.Random(seed), TokenTime()
    for _ in range(calls):
        tokens, running = draw.randint(*lengths), draw.choice((0, 10))
        seconds = (start + tokens * (each + crowd * running)) * draw.lognormvariate(0, 0.05)
        expected = known.expected(tokens, running) if known.count else None
        known.add(tokens, running, seconds, expected)
    return known


@pytest.mark.parametrize(("start", "each", "crowd"), [(0.5, 0.02, 0.0), (2.0, 0.005, 0.0), (0.3, 0.02, 0.004)])
def test_coefficients(start, each, crowd):
    """Start, time per token and what load adds to it are told apart."""
    found = fitted(300, start=start, each=each, crowd=crowd).coefficients()
    assert pytest.approx((start, each), rel=0.15) == found[:2]
    assert pytest.approx(crowd, rel=0.15, abs=2e-4) == found[2]


def streamed(lengths, *, each=0.02, seed=2):
    """An estimate after 200 calls with a start of 0.2 s, and answers of *lengths* tokens."""
    draw, predictor = random.Random(seed), Predictor()
    for _ in range(200):
        tokens = draw.randint(*lengths)
        seconds = 0.2 + each * tokens * draw.lognormvariate(0, 0.2)
        predictor.observe(predictor.predict("p", "t", "m"), seconds, output_tokens=tokens)
    return predictor.predict("p", "t", "m")


def test_pace():
    """Where all answers are of one length, the rest of a stream comes at the stream's own pace."""
    estimate = streamed((150, 150))
    for each in (0.015, 0.02, 0.03):
        left = estimate.remaining(0.2 + 50 * each, 50, 0.2)
        assert pytest.approx(100 * each, rel=0.2) == left.seconds


def test_length():
    """Where answers vary, what is left is that of those which became longer."""
    left = streamed((100, 400)).remaining(0.2 + 200 * 0.02, 200, 0.2)
    assert pytest.approx(100 * 0.02, rel=0.25) == left.seconds
    assert left.low < 0.6 < 3.5 < left.high


UNTOLD = {
    "no tokens yet": (0, 0.2),
    "no time of the first token": (200, None),
    "longer than nearly all before": (399, 0.2),
}


@pytest.mark.parametrize(("tokens", "first"), UNTOLD.values(), ids=UNTOLD)
def test_untold(tokens, first):
    """Else only the clock counts."""
    estimate = streamed((100, 400))
    assert estimate.remaining(4.0).quantiles == estimate.remaining(4.0, tokens, first).quantiles


@pytest.mark.parametrize("pace", [0.01, 0.03])
def test_shown_end_of_a_stream(pace):
    """The shown end may come nearer, and never moves out before it has passed."""
    draw, left = random.Random(3), streamed((100, 400))
    ends, moments = [left.high], 20
    for moment in range(1, moments):
        left = left.remaining(0.2, moment * 0.2 / pace * draw.uniform(0.7, 1.3), 0.1)
        ends.append(left.shown)
    assert sorted(ends, reverse=True) == ends
