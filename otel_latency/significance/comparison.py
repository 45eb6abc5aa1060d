"""Two runs side by side: of each stage how far it moved, how sure that is, and whether it is more than noise.

A stage is called slower or faster on the evidence of two tests of ranks: van der Waerden's of whether its latencies as
a whole have moved, and Fisher's of whether one side has more of the slowest twentieth. Looking at many stages finds
something by accident sooner or later: p-values are adjusted (Holm) so that of a hundred comparisons of a system with
itself at most 3.5 call any stage different. With 500 samples a side, a shift of 10 % is found in nineteen of twenty
comparisons where two thirds of the latencies lie within a factor of 1.5 of the median.

Cost: a sort of all samples of a stage, three times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, exp, log, sqrt
from typing import Final

from otel_latency.significance.statistics import (
    EXACT_UP_TO,
    Z95,
    Interval,
    RankTest,
    holm,
    inflation,
    mann_whitney,
    normal_scores,
    quantile,
    quantile_interval,
    tail_test,
)

ALPHA: Final = 0.035
SHARE_OF_WHOLE: Final = 0.9
"""How much of the risk of a false alarm is spent on the test of the whole; the rest is for the tail."""
FEW: Final = 10
SHORTEST: Final = 1e-6
"""Seconds; a shift is a ratio, and nothing is a multiple of zero."""

SLOWER: Final = "slower"
FASTER: Final = "faster"
SAME: Final = "same"


@dataclass(frozen=True, slots=True)
class Shift:
    """One quantile on both sides, in seconds; `ratio` is b / a - 1, with its 95 % interval where samples suffice."""

    a: float
    b: float
    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class StageShift:
    """What became of one stage. `p_value` is adjusted for all stages looked at."""

    stage: str
    count_a: int
    count_b: int
    p50: Shift
    p95: Shift
    p_value: float
    verdict: str


def compare(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], *, alpha: float = ALPHA
) -> list[StageShift]:
    """The stages that both sides have, in the order of *a*; samples are seconds, in the order of their times."""
    shared = [stage for stage in a if a[stage] and b.get(stage)]
    tests = [_tests(a[stage], b[stage]) for stage in shared]
    adjusted = _adjusted([(tuple(a[stage]), tuple(b[stage])) for stage in shared], [_p_value(both) for both in tests])
    return [
        _stage_shift(stage, a[stage], b[stage], p_value, _verdict(both, p_value, alpha))
        for stage, both, p_value in zip(shared, tests, adjusted, strict=True)
    ]


def _tests(a: Sequence[float], b: Sequence[float]) -> tuple[RankTest, RankTest]:
    """Of the whole, and of the tail."""
    resemblance = (len(a) * inflation(a) + len(b) * inflation(b)) / (len(a) + len(b))
    of_whole = mann_whitney if max(len(a), len(b)) <= EXACT_UP_TO else normal_scores
    whole = of_whole(a, b, resemblance)
    least = _least_p(len(a), len(b))
    return whole._replace(p_value=max(whole.p_value, least)), tail_test(a, b, inflation=resemblance)


def _least_p(n_a: int, n_b: int) -> float:
    """What no test of ranks can go below, though its normal approximation does: two in all ways to tell sides apart.

    A single value beyond three others is no news. From eleven a side on it is below all that matters.
    """
    return min(2 / comb(n_a + n_b, min(n_a, n_b, FEW)), 1.0)


def _p_value(both: tuple[RankTest, RankTest]) -> float:
    whole, tail = both
    return min(whole.p_value / SHARE_OF_WHOLE, tail.p_value / (1 - SHARE_OF_WHOLE), 1.0)


def _adjusted(samples: Sequence[object], p_values: Sequence[float]) -> list[float]:
    """By Holm; stages with the very same samples (a request of one stage, and its total) were looked at once."""
    distinct = dict(zip(samples, p_values, strict=True))
    return [dict(zip(distinct, holm(list(distinct.values())), strict=True))[each] for each in samples]


def _verdict(both: tuple[RankTest, RankTest], p_value: float, alpha: float) -> str:
    if p_value > alpha:
        return SAME
    whole, tail = both
    decisive = whole if whole.p_value / SHARE_OF_WHOLE <= tail.p_value / (1 - SHARE_OF_WHOLE) else tail
    return SLOWER if decisive.superiority > 0.5 else FASTER


def _stage_shift(stage: str, a: Sequence[float], b: Sequence[float], p_value: float, verdict: str) -> StageShift:
    ordered_a, ordered_b = sorted(a), sorted(b)
    p50, p95 = (_shift(ordered_a, ordered_b, q) for q in (0.5, 0.95))
    return StageShift(stage, len(a), len(b), p50, p95, p_value, verdict)


def _shift(a: Sequence[float], b: Sequence[float], q: float) -> Shift:
    before, after = quantile(a, q), quantile(b, q)
    ratio = max(after, SHORTEST) / max(before, SHORTEST)
    errors = [_log_error(side, q) for side in (a, b)]
    if any(error is None for error in errors):
        return Shift(before, after, ratio - 1, None)
    # The quantiles' logarithms are near enough normal for their difference to be (Price and Bonett, 2002).
    half = Z95 * sqrt(sum(error * error for error in errors if error is not None))
    return Shift(before, after, ratio - 1, Interval(exp(log(ratio) - half) - 1, exp(log(ratio) + half) - 1))


def _log_error(ordered: Sequence[float], q: float) -> float | None:
    """The standard error of a quantile's logarithm."""
    interval = quantile_interval(ordered, q)
    if interval is None:
        return None
    return (log(max(interval.high, SHORTEST)) - log(max(interval.low, SHORTEST))) / (2 * Z95)
