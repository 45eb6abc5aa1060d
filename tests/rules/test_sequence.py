import math

import pytest

from otel_latency.errors import ExpressionError
from otel_latency.rules.sequence import Gap, parse_sequence, parse_series

BLANK, STALE = Gap.BLANK, Gap.STALE

SEQUENCES = {
    "": [],
    " 1  2\t3\n": [1, 2, 3],
    "1x3": [1, 1, 1, 1],
    "1+2x3": [1, 3, 5, 7],
    "-1-1x2": [-1, -2, -3],
    "+5 .5 1. 1e2 1E-1": [5, 0.5, 1, 100, 0.1],
    "0x2": [0, 0, 0],
    "1x0": [1],
    "_ _x3 _x0": [BLANK] * 4,
    "1 stale 2": [1, STALE, 2],
    "Inf -inf +INF": [math.inf, -math.inf, math.inf],
}


@pytest.mark.parametrize(("text", "expected"), SEQUENCES.items(), ids=SEQUENCES)
def test_sequence(text, expected):
    """Values, repetitions, steps, blanks and ends, as promtool 2.42 reads them."""
    assert expected == parse_sequence(text)


def test_nan():
    """Not a number, in any case."""
    assert all(math.isnan(value) for value in parse_sequence("NaN nan"))


# fmt: off
REFUSED = [
    "1x", "1 x3", "stalex3", "1+x3", "1+1", "1+1x", "1 + 1x2", "1+1 x2", "_x", "_ x2", "1x2.5", "-x2",
    "1x3x2", "_1", "1_", "Infx2", "NaNx3", "1x1e1", "STALE", "- 1", "1--1x2", "__", "1,2", "1e400", "1e",
    "0xx2", "2x1000001", "x",
]
# fmt: on


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    """What promtool 2.42 refuses is refused; so are more values than memory holds."""
    with pytest.raises(ExpressionError):
        parse_sequence(text)


def test_place_of_a_fault():
    """A fault has the offset of its item."""
    with pytest.raises(ExpressionError, match=r"^'3y' is no value of a series: write 1, 1x5, 1\+2x5") as error:
        parse_sequence("1 2 3y 4")
    assert 4 == error.value.at


def test_histograms():
    """A native histogram is refused by name, with what to use in its place."""
    with pytest.raises(ExpressionError, match=r"^native histograms are not part"):
        parse_sequence("1 {{schema:1 sum:3}}x4")


SERIES = {
    "x": (("__name__", "x"),),
    " x{b=\"1\",a='2',} ": (("__name__", "x"), ("a", "2"), ("b", "1")),
    '{__name__="x",a=""}': (("__name__", "x"),),
    "": (),
    "{}": (),
    '{a="1"}': (("a", "1"),),
}


@pytest.mark.parametrize(("text", "expected"), SERIES.items(), ids=SERIES)
def test_series(text, expected):
    """A series is written as in a query; the order of its labels and empty ones do not matter."""
    assert expected == parse_series(text)


@pytest.mark.parametrize("text", ["sum(x)", "x offset 1m", 'x{a!="1"}', 'x{a=~"1"}', "x{a=1}", "x 1 2", "x[1m]"])
def test_no_series(text):
    """An expression, or a condition on labels, is not a series."""
    with pytest.raises(ExpressionError):
        parse_series(text)
