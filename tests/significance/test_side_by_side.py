from math import log
from random import Random

import pytest

from otel_latency.significance.side_by_side import compare, in_words


def lognormal(seed, count=500, median=0.5, spread=0.3):
    random = Random(seed)
    return [random.lognormvariate(log(median), spread) for _ in range(count)]


def wandering(seed, count=500):
    """Durations that resemble the ones before, as with a provider's slow spells."""
    random, state, found = Random(seed), 0.0, []
    for _ in range(count):
        state = 0.6 * state + random.gauss(0.0, 0.3)
        found.append(0.5 * 2.718**state)
    return found


def verdicts(groups):
    return {"/".join(place.group): place.verdict for place in compare(groups)}


def test_ranking():
    """The lowest median comes first; those that are slower for sure are told from those that may be alike."""
    groups = {("c",): lognormal(1, median=0.6), ("a",): lognormal(2), ("b",): lognormal(3, median=0.505)}
    assert {"a": "fastest", "b": "same", "c": "slower"} == verdicts(groups)
    assert [("a",), ("b",), ("c",)] == [place.group for place in compare(groups)]


def test_figures():
    """Count, median and 90th percentile are those of all durations; the shift is that of one call against another."""
    groups = {("b",): lognormal(2, 1001, median=0.7), ("a",): lognormal(1, 999)}
    first, second = compare(groups)
    b, a = map(sorted, groups.values())
    assert (999, a[499], a[899], None) == (first.count, first.p50, first.p90, first.difference)
    assert (1001, b[500], b[900]) == (second.count, second.p50, second.p90)
    shifts = sorted(y - x for x in a for y in b)
    assert (("a",), pytest.approx(shifts[len(shifts) // 2], rel=0.02)) == (
        second.difference.against,
        second.difference.seconds,
    )
    assert second.difference.p_value < 1e-9


def test_exact_shift():
    """Of few durations the shift is the middle one of all differences."""
    _, slower = compare({("a",): [1.0, 2.0, 4.0], ("b",): [3.0, 5.0, 9.0]})
    assert 3.0 == slower.difference.seconds


def test_interval():
    """The interval holds the true shift in about 96 of 100 comparisons, and is as wide as the test is unsure."""
    covered = agree = 0
    for seed in range(200):
        a, b = lognormal(2 * seed, 150), [value + 0.05 for value in lognormal(2 * seed + 1, 150)]
        found = compare({("a",): a, ("b",): b})[1]
        low, high = found.difference.interval
        shift = 0.05 if found.group == ("b",) else -0.05
        covered += low <= shift <= high
        agree += (low > 0) == (found.verdict == "slower")
    assert 0.92 <= covered / 200 <= 0.995
    assert agree >= 195


@pytest.mark.parametrize("make", [lognormal, wandering])
def test_alike(make):
    """Of tables of five providers that are alike at most one in twenty calls any of them slower."""
    alarms = sum(
        "slower" in verdicts({(str(i),): make(f"{seed} {i}", 200) for i in range(5)}).values() for seed in range(60)
    )
    assert alarms <= 6


FEW = {
    "four calls, however slow": (lognormal(1), [9.0, 9.1, 9.2, 9.3], "unknown"),
    "six calls that are far slower": (lognormal(1), [9.0, 9.1, 9.2, 9.3, 9.4, 9.5], "slower"),
    "six calls that may be slower": (lognormal(1), [0.5, 0.4, 0.7, 0.6, 0.8, 0.55], "unknown"),
    "thirty calls that may be": (lognormal(1), lognormal(6, 30, median=0.52), "same"),
}


@pytest.mark.parametrize(("a", "b", "verdict"), FEW.values(), ids=FEW)
def test_few(a, b, verdict):
    """Too few calls to show a difference make it unknown rather than absent."""
    assert {"a": "fastest", "b": verdict} == verdicts({("a",): a, ("b",): b})


def test_lucky():
    """Who has made a few lucky calls leads the ranking, but is not what others are held against."""
    groups = {("lucky",): [0.1] * 4, ("a",): lognormal(1), ("b",): lognormal(2, median=0.6)}
    assert {"lucky": "unknown", "a": "fastest", "b": "slower"} == verdicts(groups)
    assert ["lucky", "a", "b"] == list(verdicts(groups))


def test_nothing():
    """Groups without durations have no place, and without any group there is no table."""
    assert [] == compare({})
    assert {"a": "fastest"} == verdicts({("a",): [1.0], ("b",): []})


def test_ties():
    """Durations that are all equal differ in nothing; equal ones of two lengths do."""
    assert {"a": "fastest", "b": "same"} == verdicts({("a",): [1.0] * 50, ("b",): [1.0] * 50})
    assert {"a": "fastest", "b": "slower"} == verdicts({("a",): [1.0] * 50, ("b",): [1.5] * 50})


def test_repeatable():
    """The same durations give the same table, though only some of so many are looked at."""
    groups = {(str(i),): lognormal(i, 20_000, median=0.5 + i / 500) for i in range(3)}
    assert compare(groups) == compare(groups)


def test_words_of_few():
    """Where too few were called, the numbers of both sides are told; of the only one that there is nothing to hold."""
    alone, other = compare({("anthropic", "b"): [0.5], ("openai", "a"): [0.75] * 4})
    assert "openai/a takes 750 ms: too few calls to compare, 4 against 1 of anthropic/b" == in_words(other)
    told = "anthropic/b takes 500 ms at the median of 1 call: there is nothing to compare it with"
    assert told == in_words(alone, is_alone=True)


def test_words():
    """Each verdict is a sentence; what a group has no name for is left out."""
    groups = {("openai", "a"): [0.75] * 40, ("x", ""): [0.75] * 30, ("openai", "c"): [2.0] * 40, ("", ""): [750.0]}
    assert [
        "openai/a takes 750 ms at the median of 40 calls: none is shown to be faster",
        "x takes 750 ms: not shown to be slower than openai/a, the difference may be chance",
        "openai/c takes 2 s, typically 1.25 s longer than openai/a (between 1.25 s and 1.25 s)",
        "unknown takes 750 s: too few calls to compare, 1 against 40 of openai/a",
    ] == [in_words(place) for place in compare(groups)]
