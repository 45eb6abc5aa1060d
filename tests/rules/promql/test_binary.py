"""Operators, and how the elements of two vectors are matched."""

import math

import pytest
from rules.promql.asking import ask

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql import signatures
from otel_latency.rules.promql.binary import ARITHMETIC, COMPARISONS

GET, POST = '{__name__="r", m="get"}', '{__name__="r", m="post"}'
SERIES = """
    e{m="get",c="500"} 24
    e{m="get",c="404"} 30
    e{m="put",c="501"} 3
    e{m="post",c="500"} 6
    r{m="get"} 600
    r{m="del"} 34
    r{m="post"} 120
    d{m="get",k="1"} 1
    d{m="get",k="2"} 2
"""
SCALARS = {
    "precedence": ("1 + 2 * 3", 7.0),
    "power": ("2 ^ 3 ^ 2", 512.0),
    "minus": ("-2 ^ 2", -4.0),
    "division by zero": ("1 / 0", math.inf),
    "remainder": ("-7 % 3", -1.0),
    "comparison": ("1 > bool 2", 0.0),
    "angle": ("1 atan2 0", math.pi / 2),
}


@pytest.mark.parametrize(("expr", "expected"), SCALARS.values(), ids=SCALARS)
def test_scalars(expr, expected):
    """Scalars give a scalar; comparisons give 0 or 1."""
    assert expected == ask(expr)


VECTORS = {
    "ignoring": ("e{c='500'} / ignoring (c) r", {'{m="get"}': 0.04, '{m="post"}': 0.05}),
    "on": ("e{c='500'} / on (m) r", {'{m="get"}': 0.04, '{m="post"}': 0.05}),
    "many to one": (
        "e / ignoring (c) group_left r",
        {'{c="500", m="get"}': 0.04, '{c="404", m="get"}': 0.05, '{c="500", m="post"}': 0.05},
    ),
    "one to many": (
        "r / ignoring (c) group_right e{c='404'}",
        {'{c="404", m="get"}': 20.0},
    ),
    "a label comes along": ("e{c='404'} * on (m) group_left (k) d{k='2'}", {'{c="404", k="2", m="get"}': 60.0}),
    "a label goes": ("d{k='2'} * on (m) group_left (k) r", {'{m="get"}': 1200.0}),
    "a filter": ("r > on (m) e{c='500'}", {'{m="get"}': 600.0, '{m="post"}': 120.0}),
    "a filter keeps the name": (
        "r > ignoring (c) group_left e{c='500'}",
        {GET: 600.0, POST: 120.0},
    ),
    "a filter keeps the left value": ("e{c='404'} < on (m) group_left r", {'{__name__="e", c="404", m="get"}': 30.0}),
    "a filter keeps the left value of one": (
        "r > on (m) group_right e{c='404'}",
        {'{__name__="e", c="404", m="get"}': 600.0},
    ),
    "bool": ("r > bool on (m) e{c='500'} * 100", {'{m="get"}': 0.0, '{m="post"}': 0.0}),
    "on nothing": ("r{m='get'} + on () r{m='del'}", {"{}": 634.0}),
    "no match": ("r + e", {}),
    "and": ("r and on (m) e", {GET: 600.0, POST: 120.0}),
    "unless": ("r unless on (m) e", {'{__name__="r", m="del"}': 34.0}),
    "or": ("r{m='del'} or on (m) d{k='1'}", {'{__name__="r", m="del"}': 34.0, '{__name__="d", k="1", m="get"}': 1.0}),
    "or, the left first": ("r{m='get'} or on (m) d", {'{__name__="r", m="get"}': 600.0}),
    "or of nothing": ("nothing or d{k='1'}", {'{__name__="d", k="1", m="get"}': 1.0}),
    "and nothing": ("r and nothing", {}),
    "unless nothing": ("r{m='del'} unless nothing", {'{__name__="r", m="del"}': 34.0}),
    "empty side before duplicates": ("nothing + on (m) d", {}),
    "scalar on the left": ("100 - r{m='del'}", {'{m="del"}': 66.0}),
    "scalar filter on the left": ("100 >= r", {'{__name__="r", m="del"}': 34.0}),
    "scalar bool": ("r == bool 34", {'{m="get"}': 0.0, '{m="del"}': 1.0, '{m="post"}': 0.0}),
}


@pytest.mark.parametrize(("expr", "expected"), VECTORS.values(), ids=VECTORS)
def test_vectors(expr, expected):
    """Elements are matched by the labels asked for, and carry the labels that Prometheus gives them."""
    assert expected == ask(expr, SERIES)


MANY = "many-to-many matching not allowed: matching labels must be unique on one side"
TWO = '[{__name__="d", k="2", m="get"}, {__name__="d", k="1", m="get"}]'
DUPLICATE = (
    'found duplicate series for the match group {m="get"} on the %s hand-side of the operation: ' + f"{TWO};{MANY}"
)
FAULTS = {
    "two on the right": ("r + on (m) d", DUPLICATE % "right"),
    "two on the left": ("d + on (m) group_right e", DUPLICATE % "left"),
    "many to one without saying so": (
        "d + on (m) r",
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    ),
    "a label that makes two the same": (
        "d + on (m) group_left (k) r",
        "multiple matches for labels: grouping labels must ensure unique matches",
    ),
}


@pytest.mark.parametrize(("expr", "message"), FAULTS.values(), ids=FAULTS)
def test_ambiguous(expr, message):
    """An ambiguous match is an error in Prometheus' words."""
    with pytest.raises(EvaluationError) as caught:
        ask(expr, SERIES)
    assert message == str(caught.value)


def test_filters_and_ambiguity():
    """What a filter does not let through makes a match ambiguous in version 3, and did not in version 2."""
    expr = "d >= on (m) sum by (m) (d{k='2'})"
    assert {'{m="get"}': 2.0} == ask(expr, SERIES, semantics=2)
    with pytest.raises(EvaluationError, match="many-to-one matching must be explicit"):
        ask(expr, SERIES)


def test_nan_never_matches_but_unequal():
    """A comparison with NaN is false, but for `!=`."""
    kept = {op for op in COMPARISONS if ask(f"x {op} 1", "x NaN")}
    assert {"!="} == kept


@pytest.mark.parametrize(("semantics", "labels"), [(3, "{}"), (2, '{__name__="x"}')])
def test_atan2_and_the_name(semantics, labels):
    """Before version 3 atan2 alone of all arithmetic keeps the metric's name."""
    assert [labels] == list(ask("x atan2 1", "x 1", semantics=semantics))


def test_every_operator_is_there():
    """What the parser lets through is computed."""
    assert signatures.ARITHMETIC == set(ARITHMETIC)
    assert signatures.COMPARISONS == set(COMPARISONS)
