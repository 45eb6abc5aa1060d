"""Aggregations over groups of elements."""

import math

import pytest
from rules.promql.asking import ask

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql.signatures import AGGREGATIONS

SERIES = """
    x{a="1",b="x"} 1
    x{a="1",b="y"} 2
    x{a="2",b="x"} 4
    x{a="2",b="y"} 8
    n{a="1"} 3
    n{a="2"} NaN
    n{a="3"} 5
    i{a="1"} Inf
    i{a="2"} 1
    big{a="1"} 1e100
    big{a="2"} 1
    big{a="3"} -1e100
    same{a="1"} 1.1
    same{a="2"} 1.1
    same{a="3"} 1.1
"""
RESULTS = {
    "of all": ("sum(x)", {"{}": 15.0}),
    "by a label": ("sum by (a) (x)", {'{a="1"}': 3.0, '{a="2"}': 12.0}),
    "without a label": ("max without (b) (x)", {'{a="1"}': 2.0, '{a="2"}': 8.0}),
    "by a label that is not there": ("count by (c) (x)", {"{}": 4.0}),
    "by name": ("min by (__name__) (x)", {'{__name__="x"}': 1.0}),
    "avg": ("avg by (a) (x)", {'{a="1"}': 1.5, '{a="2"}': 6.0}),
    "group": ("group(x)", {"{}": 1.0}),
    "compensated": ("sum(big)", {"{}": 1.0}),
    "max passes over NaN": ("max(n)", {"{}": 5.0}),
    "min passes over NaN": ("min(n)", {"{}": 3.0}),
    "variance": ("stdvar(x)", {"{}": 7.1875}),
    "deviation of equal values": ("stddev(same)", {"{}": 0.0}),
    "quantile": ("quantile(0.5, x)", {"{}": 3.0}),
    "topk": ("topk(2, x)", {'{__name__="x", a="2", b="y"}': 8.0, '{__name__="x", a="2", b="x"}': 4.0}),
    "bottomk of each": (
        "bottomk by (a) (1, x)",
        {'{__name__="x", a="1", b="x"}': 1.0, '{__name__="x", a="2", b="x"}': 4.0},
    ),
    "topk of none": ("topk(0, x)", {}),
    "topk of fewer than none": ("topk(-3, x)", {}),
    "topk takes whole numbers": ("topk(1.9, x)", {'{__name__="x", a="2", b="y"}': 8.0}),
    "count_values": ('count_values("v", same)', {'{v="1.1"}': 3.0}),
    "count_values by": ('count_values by (a) ("v", same{a="1"} > bool 5)', {'{a="1", v="0"}': 1.0}),
    "count_values without": (
        'count_values without (b) ("v", x{b="x"})',
        {'{a="1", v="1"}': 1.0, '{a="2", v="4"}': 1.0},
    ),
    "of nothing": ("sum(nothing)", {}),
}


@pytest.mark.parametrize(("expr", "expected"), RESULTS.values(), ids=RESULTS)
def test_result(expr, expected):
    """Elements that agree on the labels asked for become one, or the few that stand out."""
    assert expected == ask(expr, SERIES)


def test_topk_order():
    """The largest come first, NaN last; the smallest first of bottomk, NaN last as well."""
    assert [5.0, 3.0] == list(ask("topk(3, n)", SERIES).values())[:2]
    assert [3.0, 5.0] == list(ask("bottomk(3, n)", SERIES).values())[:2]
    assert math.isnan(list(ask("topk(3, n)", SERIES).values())[2])


SPELT = ["1e+21", "1e-07", "0.1", "-0", "+Inf", "NaN", "123456789.125", "100"]
FIXED = ["1000000000000000000000", "0.0000001", "0.1", "-0", "+Inf", "NaN", "123456789.125", "100"]


@pytest.mark.parametrize(("value", "label"), list(zip(SPELT, FIXED, strict=True)))
def test_count_values_spelling(value, label):
    """The label of a value has all its digits, without an exponent."""
    assert {f'{{v="{label}"}}': 1.0} == ask('count_values("v", x)', f"x {value}")


@pytest.mark.parametrize(
    ("semantics", "message"), [(3, "Parameter value is NaN"), (2, "Scalar value NaN overflows int64")]
)
def test_topk_of_no_number(semantics, message):
    """How many must be a number."""
    with pytest.raises(EvaluationError, match=f"^{message}$"):
        ask("topk(scalar(nothing), x)", SERIES, semantics=semantics)


@pytest.mark.parametrize(("number", "shown"), [("Inf", "+Inf"), ("-Inf", "-Inf"), ("1e20", "1e+20")])
def test_topk_of_too_many(number, shown):
    """How many must be a number that 64 bits hold."""
    with pytest.raises(EvaluationError) as caught:
        ask(f"topk({number}, x)", SERIES)
    assert f"Scalar value {shown} overflows int64" == str(caught.value)


@pytest.mark.parametrize(
    ("name", "semantics", "is_valid"), [("é", 3, True), ("é", 2, False), ("", 3, False), ("a-b", 2, False)]
)
def test_count_values_label_name(name, semantics, is_valid):
    """What may name a label depends on the version."""
    if is_valid:
        assert {f'{{{name}="1"}}': 1.0} == ask(f'count_values("{name}", x)', "x 1", semantics=semantics)
    else:
        with pytest.raises(EvaluationError, match="invalid label name"):
            ask(f'count_values("{name}", x)', "x 1", semantics=semantics)


def test_what_differs_in_version_2():
    """Version 2 adds up plainly, and overlooks an infinite first value in a variance."""
    assert {"{}": 0.0} == ask("sum(big)", SERIES, semantics=2)
    assert {"{}": 0.0} == ask("stdvar(i{a='1'})", SERIES, semantics=2)
    assert math.isnan(ask("stdvar(i{a='1'})", SERIES)["{}"])
    assert {"{}": math.inf} == ask("avg(i)", SERIES, semantics=2) == ask("avg(i)", SERIES)


@pytest.mark.parametrize("op", AGGREGATIONS)
def test_every_aggregation_is_there(op):
    """What the parser lets through is computed, in both versions."""
    param = {"topk": "1, ", "bottomk": "1, ", "quantile": "1, ", "count_values": '"v", '}.get(op, "")
    assert all(ask(f"{op}({param}x)", SERIES, semantics=semantics) for semantics in (2, 3))
