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


def test_kept_promise():
    """Also where every forecast is too narrow, eight in ten are within p10 and p90 in the end."""
    draw, mixture, hits = random.Random(2), Mixture([0.0]), 0
    for index in range(3000):
        grid, log_seconds = mixture.mix([TRUE]), draw.gauss(0, 0.3)
        hits += index >= 1000 and grid[2] <= log_seconds <= grid[10]
        mixture.learn([TRUE], grid, log_seconds)
    assert pytest.approx(0.8, abs=0.02) == hits / 2000
