"""Textbook values, computed by hand or published, and what must hold of any numbers."""

from itertools import combinations
from math import comb, isclose
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.significance.statistics import (
    Interval,
    fisher,
    fit,
    holm,
    inflation,
    kendall,
    mann_whitney,
    normal_scores,
    quantile,
    quantile_interval,
    tail_test,
    two_sided,
)

MALES, FEMALES = [19, 22, 16, 29, 24], [20, 11, 17, 12]
VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30)


def test_normal_tails():
    """The chances of a normal value beyond the usual quantiles."""
    for z, p in {1.959964: 0.05, 2.575829: 0.01, 0.0: 1.0, -1.959964: 0.05}.items():
        assert pytest.approx(p, abs=1e-6) == two_sided(z)


EXACT = {
    "ages at diagnosis (Nordstokke and Colp, 2018)": (MALES, FEMALES, 14 / 126, 3 / 20),
    "five against five, apart": ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], 2 / 252, 1.0),
    "three against three, apart": ([4, 5, 6], [1, 2, 3], 2 / 20, 0.0),
    "one against one": ([1], [2], 1.0, 1.0),
    "five against five with U = 2, the 5 % point of the tables": ([1, 2, 3, 4, 7], [5, 6, 8, 9, 10], 8 / 252, 23 / 25),
}


@pytest.mark.parametrize(("a", "b", "p_value", "superiority"), EXACT.values(), ids=EXACT)
def test_mann_whitney_exact(a, b, p_value, superiority):
    """Few values are tested exactly, as in the tables."""
    assert pytest.approx((p_value, superiority)) == mann_whitney(a, b)


@given(st.sets(st.integers(0, 1000), min_size=2, max_size=9), st.data())
def test_mann_whitney_by_counting(values, data):
    """The exact p is the share of all splits of the values that are at least as uneven."""
    ordered = sorted(values)
    a = data.draw(st.lists(st.sampled_from(ordered), min_size=1, max_size=len(ordered) - 1, unique=True))
    b = [value for value in ordered if value not in a]

    def wins(side):
        return sum(x < y for x in side for y in ordered if y not in side)

    least = min(wins(a), len(a) * len(b) - wins(a))
    uneven = sum(wins(split) <= least for split in combinations(ordered, len(a)))
    expected = min(1.0, 2 * uneven / comb(len(ordered), len(a)))
    assert pytest.approx(expected) == mann_whitney(a, b).p_value


def test_mann_whitney_normal():
    """With ties it is the normal approximation, corrected for them and for continuity: worked by hand."""
    # Ranks 1.5 1.5 3 5.5 | 4 5.5 7.5 7.5: U = 14.5 of 16, ties 6 + 6 + 6, sd = sqrt(16/12 (9 - 18/56)) = 3.4016.
    a, b = [1, 1, 2, 4], [3, 4, 5, 5]
    expected = two_sided((14.5 - 8 - 0.5) / 3.4016)
    assert pytest.approx((expected, 14.5 / 16), rel=1e-4) == mann_whitney(a, b)


def test_van_der_waerden():
    """Its statistic is that of the normal scores: worked by hand for four against four."""
    # Scores of ranks k/9: +-0.13971, +-0.43073, +-0.76471, +-1.22064; sum of squares 4.5596.
    z = (0.13971 + 0.43073 + 0.76471 + 1.22064) / (16 / (8 * 7) * 4.5596) ** 0.5
    assert pytest.approx((two_sided(z), 1.0), rel=1e-3) == normal_scores([1, 2, 3, 4], [5, 6, 7, 8])


@pytest.mark.parametrize("test", [mann_whitney, normal_scores, tail_test])
@given(VALUES, VALUES)
def test_sides_are_alike(test, a, b):
    """Exchanging the sides exchanges the answer, and nothing else."""
    there, back = test(a, b), test(b, a)
    assert isclose(there.p_value, back.p_value, rel_tol=1e-9)
    assert isclose(there.superiority, 1 - back.superiority, abs_tol=1e-9)
    assert 0 <= there.p_value <= 1


@pytest.mark.parametrize("test", [mann_whitney, normal_scores, tail_test])
@pytest.mark.parametrize("sides", [([], []), ([], [1.0]), ([2.0] * 50, [2.0] * 50)], ids=["none", "one", "constant"])
def test_nothing_to_tell(test, sides):
    """Without values, or with one value only, nothing is evidence."""
    assert (1.0, 0.5) == test(*sides)


@given(VALUES, VALUES)
def test_ranks_only(a, b):
    """A monotonic change of scale changes nothing: milliseconds are as good as seconds."""
    for test in (mann_whitney, normal_scores):
        assert test(a, b) == test([value * 1024 for value in a], [value * 1024 for value in b])


TABLES = {
    "Fisher's tea": ((3, 1, 1, 3), 34 / 70),
    "Fisher's tea, all right": ((4, 0, 0, 4), 2 / 70),
    "Agresti's dieting men": ((1, 11, 9, 3), 0.002759),
    "nothing above": ((0, 0, 5, 5), 1.0),
}


@pytest.mark.parametrize(("table", "p_value"), TABLES.values(), ids=TABLES)
def test_fisher(table, p_value):
    """The exact test of tables known from books."""
    assert pytest.approx(p_value, rel=1e-3) == fisher(*table)


def test_tail():
    """A few very slow calls are found, though the median has not moved."""
    random = Random(1)
    a, b = ([random.lognormvariate(0, 0.3) for _ in range(500)] for _ in range(2))
    b = [value * 5 if index % 12 == 0 else value for index, value in enumerate(b)]
    found = tail_test(a, b)
    assert found.p_value < 1e-6 < mann_whitney(a, b).p_value
    assert found.superiority > 0.5


def test_holm():
    """Smallest first, each times how many are left, and never less than the one before: Holm's own procedure."""
    assert pytest.approx([0.03, 0.06, 0.06, 0.02]) == holm([0.01, 0.04, 0.03, 0.005])
    assert [0.9, 0.8] == pytest.approx(holm([0.9, 0.4]))
    assert [] == holm([])


def test_quantile():
    """By nearest rank."""
    ordered = [float(value) for value in range(1, 11)]
    assert (5.0, 10.0, 1.0) == tuple(quantile(ordered, q) for q in (0.5, 0.95, 0.0))


INTERVALS = {
    "median of ten: second to ninth": (10, 0.5, (2, 9)),
    "median of six: all": (6, 0.5, (1, 6)),
    "median of five: too few": (5, 0.5, None),
    "median of a hundred": (100, 0.5, (40, 61)),
    "p95 of 71: too few": (71, 0.95, None),
    "p95 of 72 ends at the largest": (72, 0.95, (64, 72)),
    "p95 of two thousand, by the normal approximation": (2000, 0.95, (1880, 1921)),
}


@pytest.mark.parametrize(("count", "q", "expected"), INTERVALS.values(), ids=INTERVALS)
def test_quantile_interval(count, q, expected):
    """Between two values, as in tables of order statistics."""
    found = quantile_interval([float(value) for value in range(1, count + 1)], q)
    assert (expected and Interval(*expected)) == found


ANSCOMBE = {
    "line": (
        (10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5),
        (8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68),
    ),
    "curve": (
        (10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5),
        (9.14, 8.14, 8.74, 8.77, 9.26, 8.10, 6.13, 3.10, 9.13, 7.26, 4.74),
    ),
}


@pytest.mark.parametrize(("xs", "ys"), ANSCOMBE.values(), ids=ANSCOMBE)
def test_fit(xs, ys):
    """Anscombe's quartet: different clouds with the same line."""
    assert pytest.approx((0.5, 3.0, 0.816), abs=0.002) == fit(xs, ys)


@pytest.mark.parametrize("points", [([], []), ([1], [2]), ([1, 1], [2, 3]), ([1, 2], [3, 3])])
def test_no_line(points):
    """Points that do not spread in both directions have no line."""
    assert fit(*points) is None


def test_kendall():
    """Mann and Kendall's trend: worked by hand, with ties."""
    assert pytest.approx(1.0) == kendall([1, 2, 3, 4, 5, 6, 7, 8]).superiority
    # S = 28 of 28, variance 8 x 7 x 21 / 18 = 65.33.
    assert pytest.approx(two_sided(27 / 65.3333**0.5), rel=1e-4) == kendall([1, 2, 3, 4, 5, 6, 7, 8]).p_value
    # S = 4 of 6, one pair tied: variance (4 x 3 x 13 - 2 x 1 x 9) / 18 = 7.667.
    assert pytest.approx((two_sided(4 / 7.6667**0.5), 0.5 + 5 / 12), rel=1e-4) == kendall([1, 2, 2, 3])
    assert (1.0, 0.5) == kendall([2, 2, 2])


def test_inflation():
    """Independent values are worth what they count; values that resemble their neighbours are worth less."""
    random = Random(4)
    independent = [random.random() for _ in range(1000)]
    assert 1.0 == inflation(independent)
    assert 1.0 == inflation([1.0] * 100)
    wandering = [0.0]
    for _ in range(5000):
        wandering.append(0.5 * wandering[-1] + random.gauss(0, 1))
    assert pytest.approx(3.0, rel=0.15) == inflation(wandering)  # (1 + 0.5) / (1 - 0.5)
