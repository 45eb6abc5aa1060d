"""The compiled loops and their Python twins give one answer."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency import native
from otel_latency.records import Profile

compiled = pytest.importorskip("otel_latency._native", reason="the compiled parts were not built (no C compiler)")

finite = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=60).map(lambda v: array("d", v))
durations = st.lists(st.floats(min_value=-10, max_value=1e6), max_size=60).map(lambda v: array("d", v))


@given(durations)
def test_summarise(values):
    """Sum, minimum and maximum, to the last digit of the sum."""
    ours, theirs = native.py_summarise(values), compiled.summarise(values)
    assert ours[1:] == theirs[1:]
    assert math.isclose(ours[0], theirs[0], rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("summarise", [native.py_summarise, compiled.summarise])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_summarise_refuses_what_is_not_finite(summarise, bad):
    """Wherever it stands among the values."""
    with pytest.raises(ValueError, match="finite"):
        summarise(array("d", [1.0, bad, 2.0]))


@given(finite)
def test_count_buckets(values):
    """Also for the smallest and the largest numbers there are."""
    assert native.py_count_buckets(values) == compiled.count_buckets(values)


@given(durations, st.lists(st.floats(min_value=-1, max_value=100), min_size=1, max_size=9, unique=True).map(sorted))
def test_count_bounds(values, bounds):
    """A value on a bound belongs below it."""
    counts = [array("q", [1] * (len(bounds) + 1)) for _ in range(2)]
    native.py_count_bounds(values, array("d", bounds), counts[0])
    compiled.count_bounds(values, array("d", bounds), counts[1])
    assert counts[0] == counts[1]


def test_count_bounds_checks_its_arrays():
    """Too few counts, or items of another size, are an error and no write beyond the end."""
    with pytest.raises(ValueError, match="one more count"):
        compiled.count_bounds(array("d", [1.0]), array("d", [1.0]), array("q", [0]))
    with pytest.raises(TypeError, match="8-byte"):
        compiled.count_bounds(array("f", [1.0]), array("d", [1.0]), array("q", [0, 0]))
    with pytest.raises(TypeError):
        compiled.count_bounds([1.0], array("d", [1.0]), array("q", [0, 0]))


def test_arrays_are_of_the_type_that_they_are_read_as():
    """Integers are not read as doubles nor the other way round, and nothing is written to what is read-only."""
    doubles, integers = array("d", [1.0]), array("q", [1])
    for call, arguments in (
        (compiled.summarise, (integers,)),
        (compiled.count_buckets, (integers,)),
        (compiled.count_bounds, (integers, array("d"), integers)),
        (compiled.count_bounds, (doubles, array("q"), integers)),
        (compiled.count_bounds, (doubles, array("d"), doubles)),
        (compiled.add_at, (doubles, 0, integers, 1)),
        (compiled.add_at, (integers, 0, doubles, 1)),
        (compiled.split, (integers, integers)),
        (compiled.split, (doubles, doubles)),
    ):
        with pytest.raises(TypeError, match=r"type '[dq]'"):
            call(*arguments)
    with pytest.raises(BufferError):
        compiled.add_at(memoryview(bytes(8)).cast("q"), 0, integers, 1)
    assert (doubles, integers) == (array("d", [1.0]), array("q", [1]))


counts = st.lists(st.integers(-(1 << 40), 1 << 40), max_size=9).map(lambda v: array("q", v))


@given(counts, counts, st.integers(-2, 12), st.sampled_from([1, -1]))
def test_add_at(into, more, at, sign):
    """Where the counts do not fit nothing is written."""
    outcomes = []
    for add_at in (native.py_add_at, compiled.add_at):
        sums = into[:]
        try:
            add_at(sums, at, more, sign)
        except IndexError:
            assert sums == into
            outcomes.append(None)
        else:
            outcomes.append(sums)
    assert outcomes[0] == outcomes[1]


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.integers(-5, 5)), max_size=60))
def test_split(pairs):
    """Groups keep the order of their values, and keys the order they first came in."""
    values, keys = array("d", [v for v, _ in pairs]), array("q", [k for _, k in pairs])
    ours, theirs = native.py_split(values, keys), compiled.split(values, keys)
    assert list(ours.items()) == list(theirs.items())


PROFILES = [Profile("a"), Profile("b"), Profile("c")]
rows = st.lists(
    st.tuples(
        st.sampled_from(PROFILES),
        st.just(b"t" * 16),
        st.binary(min_size=8, max_size=8),
        st.just(b""),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, (1 << 64) - 1),
        st.none()
        | st.dictionaries(
            st.sampled_from(["ttft", "duration", "input_tokens", "cost_usd", "session", *map(str, range(40))]),
            st.floats(min_value=-5, max_value=1e6) | st.integers(0, 1 << 40) | st.text(max_size=3),
            max_size=4,
        ),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(rows, rows)
def test_piles(first, second):
    """Rows taken apart by profile: durations, quanta, sums, latencies and the row of the largest."""
    piles = [kind(250_000_000, {"ttft": None}) for kind in (native.PyPiles, compiled.Piles)]
    taken = []
    for each in piles:
        each.add(first)
        waiting = each.add(second)
        taken.append({pile[0]: pile[1:] for pile in each.take()})
        assert waiting == len(taken[-1])
        assert each.take() == []
    ours, theirs = taken
    assert ours.keys() == theirs.keys()
    for profile, (count, durations, sums, latencies) in ours.items():
        assert count == theirs[profile][0]
        assert (durations is None) == (theirs[profile][1] is None)
        if durations:
            assert durations[1] == theirs[profile][1][1]
            assert list(durations[0]) == pytest.approx(list(theirs[profile][1][0]))
            assert durations[2:4] == pytest.approx(theirs[profile][1][2:4])
            assert durations[4:] == theirs[profile][1][4:]
        assert sums == pytest.approx(theirs[profile][2])
        assert latencies == theirs[profile][3]


@given(rows, rows)
def test_recent(first, second):
    """The same rows are fresh for both."""
    ours, theirs = native.PyRecent(7), compiled.Recent(7)
    for each in (first, second, first):
        assert ours.fresh(each) == theirs.fresh(each)
    ours.turn()
    theirs.turn()
    assert ours.fresh(second) == theirs.fresh(second) == []
    for one in (ours, theirs):
        one.turn()
        one.turn()
    assert ours.fresh(second) == theirs.fresh(second)


def test_recent_turns_over_when_a_generation_is_full():
    """Both forget at the same span."""

    def row(number: int):
        return PROFILES[0], b"t" * 16, number.to_bytes(8, "big"), b"", 0, 0, None

    every = [row(number) for number in range(2 * native.GENERATION + 10)]
    for one in (native.PyRecent(1), compiled.Recent(1)):
        assert one.fresh(every) == every
        assert one.fresh([every[0], every[native.GENERATION], every[-1]]) == [every[0]]


def test_recent_checks_its_rows():
    """Ids of another length are an error and no read beyond their end."""
    for one in (native.PyRecent(1), compiled.Recent(1)):
        with pytest.raises(ValueError, match="16 and 8"):
            one.fresh([(PROFILES[0], b"short", b"s" * 8, b"", 0, 0, None)])


def test_piles_refuse_what_is_no_row():
    """A wrong shape is an error and no crash."""
    piles = compiled.Piles(1, {})
    for bad in (
        [1],
        [(1, 2)],
        [(PROFILES[0], b"", b"", b"", -1, 0, None)],
        [(PROFILES[0], b"", b"", b"", "x", 0, None)],
    ):
        with pytest.raises((TypeError, OverflowError)):
            piles.add(bad)
    with pytest.raises(TypeError):
        piles.add(())
    with pytest.raises(ValueError, match="positive quantum"):
        compiled.Piles(0, {})


@pytest.mark.parametrize(
    ("kind", "method", "arguments"),
    [
        (compiled.Piles, "add", ([(PROFILES[0], b"t" * 16, b"s" * 8, b"", 0, 1, None)],)),
        (compiled.Piles, "take", ()),
        (compiled.Recent, "fresh", ([(PROFILES[0], b"t" * 16, b"s" * 8, b"", 0, 1, None)],)),
        (compiled.Recent, "turn", ()),
    ],
)
def test_what_was_not_initialised_says_so(kind, method, arguments):
    """An error and no crash."""
    with pytest.raises(RuntimeError, match="not initialised"):
        getattr(kind.__new__(kind), method)(*arguments)


def test_piles_are_initialised_once():
    """A second time changes nothing: a quantum of 0 would be divided by."""
    piles = compiled.Piles(1, {})
    with pytest.raises(ValueError, match="once"):
        piles.__init__(0, {})
    assert piles.add([(PROFILES[0], b"t" * 16, b"s" * 8, b"", 0, 1, None)]) == 1
