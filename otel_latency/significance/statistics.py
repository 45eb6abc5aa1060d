"""The few tests and estimates that tell a change from noise, whatever the distribution of the latencies.

Everything here is pure arithmetic on numbers in the order in which they were measured. Neighbours in time resemble each
other (a slow provider is slow for a while), which makes n measurements worth fewer than n: `inflation` says how much
fewer, and the tests take it into account.

Cost: a sort; half a second for a million values.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, comb, erfc, exp, floor, lgamma, log, sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

Z95: Final = 1.959964
"""Half the width of a 95 % interval, in standard errors."""
EXACT_UP_TO: Final = 20
"""So few values a side are tested against all their possible orders."""
MIN_FOR_INFLATION: Final = 20
MAX_RESEMBLANCE: Final = 0.99


class RankTest(NamedTuple):
    """`superiority` is the probability that a value of b is larger than one of a, ties counted half."""

    p_value: float
    superiority: float


class Interval(NamedTuple):
    low: float
    high: float


class Line(NamedTuple):
    """A least-squares fit; `correlation` is Pearson's."""

    slope: float
    intercept: float
    correlation: float


def mann_whitney(a: Sequence[float], b: Sequence[float], inflation: float = 1.0) -> RankTest:
    """The two-sided test of whether values of one side tend to be larger. An empty side has no evidence: p is 1."""
    if not a or not b:
        return RankTest(1.0, 0.5)
    ranks, ties = _ranked([*a, *b])
    pairs = len(a) * len(b)
    wins = sum(ranks[len(a) :]) - len(b) * (len(b) + 1) / 2
    if not ties and max(len(a), len(b)) <= EXACT_UP_TO:
        return RankTest(_exact_p(round(min(wins, pairs - wins)), len(a), len(b)), wins / pairs)
    total = len(a) + len(b)
    variance = pairs / 12 * (total + 1 - ties / (total * (total - 1))) * inflation
    distance = max(abs(wins - pairs / 2) - 0.5, 0.0)
    return RankTest(two_sided(distance / sqrt(variance)) if variance > 0 else 1.0, wins / pairs)


def normal_scores(a: Sequence[float], b: Sequence[float], inflation: float = 1.0) -> RankTest:
    """Van der Waerden's test of the same: for lognormal values as sharp as a t-test of their logarithms.

    An outlier weighs no more than its rank. The variance is that over all orders of these very values, so ties need
    no correction.
    """
    if not a or not b:
        return RankTest(1.0, 0.5)
    ranks, _ = _ranked([*a, *b])
    total = len(ranks)
    score = NormalDist().inv_cdf
    scores = [score(rank / (total + 1)) for rank in ranks]
    mean = sum(scores) / total  # 0 but for ties
    scores = [each - mean for each in scores]
    variance = len(a) * len(b) / (total * (total - 1)) * sum(each * each for each in scores) * inflation
    wins = sum(ranks[len(a) :]) - len(b) * (len(b) + 1) / 2
    p_value = two_sided(sum(scores[len(a) :]) / sqrt(variance)) if variance > 0 else 1.0
    return RankTest(p_value, wins / (len(a) * len(b)))


def tail_test(a: Sequence[float], b: Sequence[float], q: float = 0.95, inflation: float = 1.0) -> RankTest:
    """Fisher's exact test of whether one side has more than its share of the values above the common *q* quantile."""
    if not a or not b:
        return RankTest(1.0, 0.5)
    threshold = quantile(sorted([*a, *b]), q)
    above_a, above_b = (sum(value > threshold for value in side) for side in (a, b))
    superiority = 0.5 + (above_b / len(b) - above_a / len(a)) / 2
    counts = (round(count / inflation) for count in (above_a, above_b, len(a) - above_a, len(b) - above_b))
    return RankTest(fisher(*counts), superiority)


def fisher(above_a: int, above_b: int, below_a: int, below_b: int) -> float:
    """The two-sided p of a two by two table: all tables together that are no more likely than this one."""
    in_a, above = above_a + below_a, above_a + above_b
    total = in_a + above_b + below_b
    fewest, most = max(0, above - (total - in_a)), min(above, in_a)
    weights = [_log_comb(in_a, k) + _log_comb(total - in_a, above - k) for k in range(fewest, most + 1)]
    seen = weights[above_a - fewest] + 1e-9
    peak = max(weights)
    likely = [exp(weight - peak) for weight in weights]
    return min(sum(each for each, weight in zip(likely, weights, strict=True) if weight <= seen) / sum(likely), 1.0)


def inflation(values: Sequence[float]) -> float:
    """By how much the variance of a mean rank exceeds that of independent values; 1 when nothing speaks against them.

    As for a first-order autoregression. A correlation of neighbours that chance explains is taken for none.
    """
    if len(values) < MIN_FOR_INFLATION:
        return 1.0
    ranks, _ = _ranked(values)
    mean = (len(ranks) + 1) / 2
    spread = sum((rank - mean) ** 2 for rank in ranks)
    alike = sum((one - mean) * (other - mean) for one, other in pairwise(ranks)) / spread if spread else 0.0
    if alike < 2 / sqrt(len(ranks)):
        return 1.0
    alike = min(alike, MAX_RESEMBLANCE)
    return (1 + alike) / (1 - alike)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for having looked at all of them: the chance that any is below alpha by accident is at most alpha."""
    adjusted = [1.0] * len(p_values)
    worst = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        worst = max(worst, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def quantile(ordered: Sequence[float], q: float) -> float:
    """By nearest rank, as everywhere in this package. Raises IndexError when there are no values."""
    return ordered[max(ceil(q * len(ordered)) - 1, 0)]


def quantile_interval(ordered: Sequence[float], q: float) -> Interval | None:
    """A 95 % interval of the quantile between two of the values themselves; None where too few are on either side."""
    count = len(ordered)
    low, high = _order_statistics(count, q)
    return Interval(ordered[low - 1], ordered[high - 1]) if low >= 1 and high <= count else None


def fit(xs: Sequence[float], ys: Sequence[float]) -> Line | None:
    """The line through points; None where there is none, for want of two different values in both directions."""
    if len(xs) < 2:
        return None
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    xx = sum((x - mean_x) ** 2 for x in xs)
    yy = sum((y - mean_y) ** 2 for y in ys)
    xy = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    if xx <= 0 or yy <= 0:
        return None
    slope = xy / xx
    return Line(slope, mean_y - slope * mean_x, max(-1.0, min(1.0, xy / sqrt(xx * yy))))


def kendall(values: Sequence[float]) -> RankTest:
    """Mann and Kendall's test of whether values rise or fall over time; `superiority` is that of later over earlier.

    Meant for the turns of one conversation: it looks at all pairs, of the last thousand values at most.
    """
    recent = values[-1000:]
    count = len(recent)
    score = 0
    ordered: list[float] = []  # the values before
    for value in recent:
        score += bisect_left(ordered, value) + bisect_right(ordered, value) - len(ordered)
        insort(ordered, value)
    if not ordered or ordered[0] == ordered[-1]:
        return RankTest(1.0, 0.5)
    _, ties = _ranked(recent, weigh=lambda n: n * (n - 1) * (2 * n + 5))
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    return RankTest(two_sided(max(abs(score) - 1, 0) / sqrt(variance)), 0.5 + score / comb(count, 2) / 2)


def two_sided(z: float) -> float:
    """The chance of a normal value at least this far from its mean."""
    return erfc(abs(z) / sqrt(2))


def _cubic(count: int) -> int:
    return count**3 - count


def _ranked(values: Sequence[float], weigh: Callable[[int], int] = _cubic) -> tuple[list[float], int]:
    """Each value's rank from 1, equal ones sharing the mean of theirs, and the sum over ties that variances need."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    ties = start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and values[order[end]] == values[order[start]]:
            continue
        if end - start > 1:
            ties += weigh(end - start)
        shared = (start + 1 + end) / 2
        for index in order[start:end]:
            ranks[index] = shared
        start = end
    return ranks, ties


def _exact_p(wins: int, n_a: int, n_b: int) -> float:
    """Twice the share of all orders with at most so many wins: coefficients of the Gaussian binomial."""
    ways = [1] + [0] * (n_a * n_b)
    for i in range(1, n_a + 1):
        for k in range(len(ways) - 1, n_b + i - 1, -1):
            ways[k] -= ways[k - n_b - i]
        for k in range(i, len(ways)):
            ways[k] += ways[k - i]
    return min(1.0, 2 * sum(ways[: wins + 1]) / comb(n_a + n_b, n_a))


def _order_statistics(count: int, q: float) -> tuple[int, int]:
    """Ranks between which the quantile lies with at least 95 %; 0 or count + 1 where no value is far enough out."""
    if count > 1000:
        half = Z95 * sqrt(count * q * (1 - q))
        return floor(count * q - half), ceil(count * q + half) + 1
    below = 0.0
    low, high = 0, count + 1
    for k in range(count + 1):
        below += exp(_log_comb(count, k) + k * log(q) + (count - k) * log(1 - q))
        if below <= 0.025:
            low = k + 1
        if below >= 0.975:
            high = k + 1
            break
    return low, high


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
