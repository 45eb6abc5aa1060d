"""The forecast that does best counts most."""

import random

import pytest

from otel_latency.predict.estimate import LEVELS
from otel_latency.predict.mixture import Mixture
from otel_latency.predict.pool import NORMAL

TRUE = [0.2 * normal for normal in NORMAL]
FAR_OFF = [1.0 + each for each in TRUE]
TOO_WIDE = [5 * each for each in TRUE]


def learnt(grids, calls=200):
    draw, mixture = random.Random(1), Mixture([0.0] * len(grids))
    for _ in range(calls):
        mixture.learn(grids, mixture.mix(grids), draw.gauss(0, 0.2))
    return mixture.mix(grids)


@pytest.mark.parametrize("wrong", [FAR_OFF, TOO_WIDE])
def test_best(wrong):
    """After 200 calls the mixture is the forecast that was right."""
    assert pytest.approx(TRUE, abs=0.12) == learnt([wrong, TRUE])


def test_ascending():
    """The quantiles are in order, whatever the forecasts are."""
    mixed = learnt([TOO_WIDE, FAR_OFF, TRUE], calls=3)
    assert sorted(mixed) == mixed
    assert len(LEVELS) == len(mixed)


def test_rare_ones():
    """Where more than one in fifty exceed p98, it moves out."""
    draw, mixture = random.Random(2), Mixture([0.0])
    for _ in range(1000):
        mixture.learn([TRUE], mixture.mix([TRUE]), 2.0 if draw.random() < 0.04 else draw.gauss(0, 0.2))
    assert mixture.mix([TRUE])[-1] > 2 * TRUE[-1]
