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


def test_one_length():
    """Where all answers are of one length start and pace cannot be told apart, and that is known."""
    assert (True, True) == (fitted(100, lengths=(150, 150)).clarity() < 0.01, fitted(100).clarity() > 0.6)


def test_pace():
    """A stream at half the usual pace has more to come than one at the usual pace that has run as long."""
    draw, predictor = random.Random(2), Predictor()
    for _ in range(200):
        tokens = draw.randint(100, 400)
        estimate = predictor.predict("p", "t", "m")
        predictor.observe(estimate, 0.2 + 0.02 * tokens * draw.lognormvariate(0, 0.2), output_tokens=tokens)
    estimate = predictor.predict("p", "t", "m")
    usual, slow = (estimate.remaining(2.2, tokens).seconds for tokens in (100, 50))
    assert slow > 1.1 * usual
