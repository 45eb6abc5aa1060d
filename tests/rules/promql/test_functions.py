"""Functions of instant vectors."""

import math

import pytest
from rules.promql.asking import ask

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql.evaluate import _CALLS
from otel_latency.rules.promql.functions import OF_VALUE
from otel_latency.rules.promql.ranges import RANGE_FUNCTIONS
from otel_latency.rules.promql.signatures import FUNCTIONS

INF, NAN = math.inf, math.nan
VALUES = [
    *[
        ("abs(x)", -2.5, 2.5),
        ("ceil(x)", 1.2, 2.0),
        ("floor(x)", -1.2, -2.0),
        ("exp(x)", 1000, INF),
        ("exp(x)", 0, 1.0),
    ],
    *[("exp(x)", 0, 1.0), ("ln(x)", 0, -INF), ("ln(x)", -1, NAN), ("ln(x)", INF, INF), ("log2(x)", 8, 3.0)],
    *[("log10(x)", 1000, 3.0), ("sqrt(x)", 16, 4.0), ("sqrt(x)", -1, NAN), ("sgn(x)", -7, -1.0), ("sgn(x)", NAN, NAN)],
    *[("sgn(x)", 0, 0.0), ("round(x)", 2.5, 3.0), ("round(x)", -2.5, -2.0), ("round(x, 5)", 7.5, 10.0)],
    *[
        ("round(x, 0)", 1, NAN),
        ("clamp(x, 0, 10)", 12, 10.0),
        ("clamp(x, 0, NaN)", 12, NAN),
        ("clamp_min(x, 5)", 3, 5.0),
    ],
    *[
        ("clamp_min(x, 5)", 3, 5.0),
        ("clamp_max(x, 5)", 7, 5.0),
        ("clamp_max(x, 5)", NAN, NAN),
        ("deg(x)", math.pi, 180.0),
    ],
    *[
        ("rad(x)", 180, math.pi),
        ("sin(x)", INF, NAN),
        ("acos(x)", 2, NAN),
        ("atanh(x)", 1, INF),
        ("atanh(x)", -1, -INF),
        ("atanh(x)", 2, NAN),
    ],
    *[("sinh(x)", -1000, -INF), ("cosh(x)", -1000, INF), ("tanh(x)", INF, 1.0), ("acosh(x)", 0, NAN)],
]


@pytest.mark.parametrize(("expr", "value", "expected"), VALUES)
def test_of_value(expr, value, expected):
    """Each function is that of Go: an infinity or NaN where Python would raise."""
    assert {"{}": pytest.approx(expected, rel=1e-15, abs=0, nan_ok=True)} == ask(expr, f"x {value}")


def test_clamp_between_nothing():
    """Bounds that leave no room leave no elements."""
    assert {} == ask("clamp(x, 5, -5)", "x 1")


def test_sort():
    """Ascending or descending by value, NaN last in both."""
    series = 'x{a="1"} 3\nx{a="2"} NaN\nx{a="3"} 1\nx{a="4"} -Inf'
    order = [list(ask(f"{name}(x)", series)) for name in ("sort", "sort_desc")]
    assert ["4312", "1342"] == ["".join(labels[-3] for labels in each) for each in order]


REPLACEMENTS = {
    "a group": ('"b", "<$1>", "a", "(.*)-.*"', 'b="<v>"'),
    "a group by name": ('"b", "${n}$$", "a", "(?P<n>v).*"', 'b="v$"'),
    "a group that is not there": ('"b", "x$7$none", "a", ".*"', 'b="x"'),
    "a group that took no part": ('"b", "x$1", "a", "(q)?.*"', 'b="x"'),
    "a longer name": ('"b", "x$1y", "a", "(.*)"', 'b="x"'),
    "a lone dollar": ('"b", "$ ${", "a", ".*"', 'b="$ ${"'),
    "no match of the whole": ('"b", "x", "a", "v"', ""),
    "a label that is not there": ('"b", "x", "none", ""', 'b="x"'),
}


@pytest.mark.parametrize(("arguments", "label"), REPLACEMENTS.values(), ids=REPLACEMENTS)
def test_label_replace(arguments, label):
    """Where the pattern fits all of the source, the target is set with the groups filled in."""
    labels = '__name__="x", a="v-1"' + (", " + label if label else "")
    assert {f"{{{labels}}}": 1.0} == ask(f"label_replace(x, {arguments})", 'x{a="v-1"} 1')


def test_label_replace_removes():
    """An empty result removes the target."""
    assert {'{__name__="x"}': 1.0} == ask('label_replace(x, "a", "", "a", ".*")', 'x{a="1"} 1')


def test_label_join():
    """Values are joined, those that are not there being empty; nothing joined removes the target."""
    series = 'x{a="1",b="2"} 1'
    assert {'{__name__="x", a="1", b="2", c="1--2"}': 1.0} == ask('label_join(x, "c", "-", "a", "n", "b")', series)
    assert {'{__name__="x", a="1"}': 1.0} == ask('label_join(x, "b", "-")', series)


RELABELLING_FAULTS = {
    "pattern": ('label_replace(x, "b", "", "a", "(")', 3, "invalid regular expression in label_replace(): ("),
    "target": ('label_replace(x, "", "", "a", "")', 3, 'invalid destination label name in label_replace(): ""'),
    "target in 2": ('label_replace(x, "é", "", "a", "")', 2, 'invalid destination label name in label_replace(): "é"'),
    "source": (r'label_join(x, "b", "", "\xff")', 3, r'invalid source label name in label_join(): "\xff"'),
    "joined": ('label_join(x, "", "", "a")', 3, 'invalid destination label name in label_join(): ""'),
    "the same": ('label_replace(x, "a", "1", "", "")', 3, "vector cannot contain metrics with the same labelset"),
    "joined the same": ('label_join(x, "a", "")', 3, "vector cannot contain metrics with the same labelset"),
}


@pytest.mark.parametrize(("expr", "semantics", "message"), RELABELLING_FAULTS.values(), ids=RELABELLING_FAULTS)
def test_relabelling_fault(expr, semantics, message):
    """What cannot be relabelled is an error that names the argument."""
    with pytest.raises(EvaluationError) as caught:
        ask(expr, 'x{a="1"} 1\nx{a="2"} 2', semantics=semantics)
    assert message == str(caught.value)


def test_every_function_is_there():
    """What the parser lets through has a function here, and none has two."""
    tables = [set(OF_VALUE), set(RANGE_FUNCTIONS), set(_CALLS)]
    assert set(FUNCTIONS) == set.union(*tables)
    assert len(FUNCTIONS) == sum(map(len, tables))
