"""An `Estimate` from a handful of past durations, by their quantiles: simple, and honest about how little is known.

Durations are compared on a logarithmic scale. From `LITTLE` calls with known prompt sizes on, the trend over the size
is taken out, with a slope that is drawn towards none: latency is far from proportional to prompt tokens. While there
are few calls, the spread is mixed with that of LLM calls in general.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from statistics import NormalDist, fmean, median
from typing import Final, NamedTuple

from otel_latency.predict.estimate import LEVELS, LITTLE, TINY, Estimate

RIDGE: Final = 2.0
"""How much evidence, in units of squared log tokens, weighs as much as the belief that size does not matter."""
STEEPEST: Final = 1.5
USUAL_SECONDS: Final = 8.0
USUAL_SPREAD: Final = 0.8
"""Of LLM calls in general: the median, and the standard deviation of the logarithm."""
MIXED: Final = 6.0
"""With this many calls, their spread and the usual one count half each."""

_NORMAL: Final = tuple(NormalDist().inv_cdf(level) for level in LEVELS)


class Past(NamedTuple):
    """A call that succeeded."""

    seconds: float
    input_tokens: int | None = None


def estimate_from(past: Sequence[Past], *, input_tokens: int | None = None, kin: Sequence[Past] = ()) -> Estimate:
    """What to expect after *past*; where that is empty after *kin*, calls that are only similar."""
    known = past or kin
    center, residuals = _fit(known, input_tokens)
    own = len(past)
    weight = own / (own + MIXED)
    wider = (1 + 1 / max(own, 1)) ** 0.5
    spread = (
        weight * _position(residuals, level) + (1 - weight) * usual * USUAL_SPREAD * wider
        for level, usual in zip(LEVELS, _NORMAL, strict=True)
    )
    return Estimate(tuple(sorted(exp(center + each) for each in spread)), own)


def _fit(known: Sequence[Past], input_tokens: int | None) -> tuple[float, list[float]]:
    """The expected logarithm of the duration, and the sorted deviations from it."""
    if not known:
        return log(USUAL_SECONDS), [0.0]
    logs = [log(max(each.seconds, TINY)) for each in known]
    sizes = [log(1 + each.input_tokens) for each in known if each.input_tokens is not None]
    if input_tokens is None or len(sizes) < LITTLE:
        center = median(logs)
        return center, sorted(each - center for each in logs)
    mean_size = fmean(sizes)
    # A call of unknown size stands for one of the usual size.
    offsets = [0.0 if each.input_tokens is None else log(1 + each.input_tokens) - mean_size for each in known]
    slope = _slope(offsets, logs)
    level = [each - slope * offset for each, offset in zip(logs, offsets, strict=True)]
    center = median(level)
    return center + slope * (log(1 + input_tokens) - mean_size), sorted(each - center for each in level)


def _slope(offsets: Sequence[float], logs: Sequence[float]) -> float:
    mean = fmean(logs)
    together = sum(offset * (each - mean) for offset, each in zip(offsets, logs, strict=True))
    slope = together / (sum(offset * offset for offset in offsets) + RIDGE)
    return min(max(slope, 0.0), STEEPEST)


def _position(ascending: Sequence[float], level: float) -> float:
    """The value at *level* of n values that cut the range into n + 1 equal parts; the outermost beyond that."""
    place = level * (len(ascending) + 1) - 1
    below = min(max(int(place), 0), len(ascending) - 1)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (ascending[above] - ascending[below]) * min(max(place - below, 0.0), 1.0)
