"""Evaluation at one moment: windows, staleness, offsets, subqueries, and what becomes of names."""

import math

import pytest
from rules.promql.asking import ask

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.parse import parse

COUNTER = "c 0+10x10"
TWO = 'x{a="1"} 1 2 3\nx{a="2"} 10 20 30'

LOOKBACK = {
    "at the sample": (3, 20, True),
    "just inside": (3, 319.999, True),
    "left open in 3": (3, 320, False),
    "closed in 2": (2, 320, True),
    "beyond in 2": (2, 320.001, False),
    "before the first": (3, -0.001, False),
}


@pytest.mark.parametrize(("semantics", "at", "is_there"), LOOKBACK.values(), ids=LOOKBACK)
def test_lookback(semantics, at, is_there):
    """A sample is current for five minutes; whether the last moment counts depends on the version."""
    assert is_there == bool(ask("x", "x 1 2 3", at=at, semantics=semantics))


def test_other_lookback():
    """The lookback is an argument."""
    assert {} == ask("x", "x 1", at=1, lookback_ms=1000)
    assert {'{__name__="x"}': 1.0} == ask("x", "x 1", at=0.999, lookback_ms=1000)


def test_stale_marker():
    """A stale marker ends a series at once, until its next sample; a gap does not."""
    results = [ask("x", "x 1 _ stale _ 5", at=at) for at in (0, 10, 20, 30, 40)]
    assert [[1.0], [1.0], [], [], [5.0]] == [list(result.values()) for result in results]


@pytest.mark.parametrize(("semantics", "count"), [(3, 4.0), (2, 5.0)])
def test_window_bounds(semantics, count):
    """One second at a sample each 250 ms holds four samples in version 3 and five in version 2."""
    assert {"{}": count} == ask("count_over_time(x[1s])", "x 1x20", at=3, step=0.25, semantics=semantics)


def test_stale_markers_in_a_range():
    """Stale markers inside of a range are passed over."""
    assert {"{}": 3.0} == ask("count_over_time(x[1m])", "x 1 2 stale 3", at=30)


def test_offset():
    """An offset looks back, or ahead; `time()` and the end of a prediction stay where they are."""
    assert {'{__name__="x"}': 1.0} == ask("x offset 20s", "x 1 2 3", at=20)
    assert {'{__name__="x"}': 3.0} == ask("x offset -10s", "x 1 2 3", at=10)
    assert {"{}": 2.0} == ask("max_over_time(x[15s] offset 10s)", "x 1 2 3", at=20)
    assert {"{}": 200.0} == ask("predict_linear(c[1m] offset 40s, 100)", COUNTER, at=100)


def test_timestamp():
    """The timestamp of a selector is that of its samples; of anything else it is this moment."""
    assert {"{}": 20.0} == ask("timestamp(x)", "x 1 2 3", at=25)
    assert {"{}": 10.0} == ask("timestamp(x offset 10s)", "x 1 2 3", at=25)
    assert {"{}": 25.0} == ask("timestamp(x + 0)", "x 1 2 3", at=25)


SUBQUERIES = {
    "steps are multiples of the step": ("count_over_time(x[25s:10s])", 3, 27, 2.0),
    "the start is outside in 3": ("count_over_time(x[20s:10s])", 3, 30, 2.0),
    "the start is inside in 2": ("count_over_time(x[20s:10s])", 2, 30, 3.0),
    "the newest step": ("max_over_time(timestamp(x + 0)[25s:10s])", 3, 27, 20.0),
    "the default step is the interval": ("count_over_time(x[25s:])", 3, 27, 5.0),
    "an offset moves the steps": ("max_over_time(timestamp(x + 0)[20s:10s] offset 5s)", 3, 27, 20.0),
    "before the epoch": ("count_over_time(vector(1)[25s:10s])", 3, -7, 3.0),
    "before the epoch, closed": ("count_over_time(vector(1)[20s:10s])", 2, -10, 3.0),
    "a range of a range": ("max_over_time(sum_over_time(x[20s])[30s:10s])", 3, 40, 9.0),
}


@pytest.mark.parametrize(("expr", "semantics", "at", "expected"), SUBQUERIES.values(), ids=SUBQUERIES)
def test_subquery(expr, semantics, at, expected):
    """A subquery evaluates at the multiples of its step that lie in its window."""
    assert {"{}": expected} == ask(expr, "x 1 2 3 4 5", at=at, semantics=semantics, interval_ms=5000)


def test_subquery_of_series_that_come_and_go():
    """Each step has the elements that there were at the time."""
    assert {'{a="1"}': 1.0, '{a="2"}': 2.0} == ask(
        "count_over_time(x[20s:10s])", 'x{a="1"} 1 1 stale\nx{a="2"} 1 1 1', at=20
    )


NAMES = {
    "a selector keeps it": ("x", "x"),
    "a function drops it": ("abs(x)", ""),
    "minus drops it": ("-x", ""),
    "arithmetic drops it": ("x * 2", ""),
    "a filter keeps it": ("x > 0", "x"),
    "a filter by the other side keeps it": ("0 < x", "x"),
    "bool drops it": ("x > bool 0", ""),
    "a range drops it": ("rate(x[1m])", ""),
    "the last of a range keeps it": ("last_over_time(x[1m])", "x"),
    "topk keeps it": ("topk(1, x)", "x"),
    "sum drops it": ("sum without () (x)", ""),
    "sort keeps it": ("sort(x)", "x"),
    "relabelling keeps it": ('label_replace(x, "b", "", "", "")', "x"),
    "set operators keep it": ("x and x", "x"),
    "timestamp drops it": ("timestamp(x)", ""),
}


@pytest.mark.parametrize(("expr", "name"), NAMES.values(), ids=NAMES)
def test_metric_name(expr, name):
    """What makes another quantity of a value drops the metric's name; what only chooses keeps it."""
    assert [f'{{__name__="{name}"}}' if name else "{}"] == list(ask(expr, "x 1 2 3", at=20))


DUPLICATES = ["abs({a='1'})", "-{a='1'}", "{a='1'} * 2", "{a='1'} > bool 0", "rate({a='1'}[1m])", "timestamp({a='1'})"]


@pytest.mark.parametrize("expr", DUPLICATES)
def test_same_labels_twice(expr):
    """Two series that become the same when their names go are an error."""
    with pytest.raises(EvaluationError, match=r"^vector cannot contain metrics with the same labelset$"):
        ask(expr, 'x{a="1"} 1 2 3\ny{a="1"} 1 2 3', at=20)


BOTH = 'x{a="1"} 0+10x10\ny{a="1"} 0+20x10'
DELAYED = {
    "summed over names": ("sum by (a) (rate({a='1'}[1m]))", {'{a="1"}': 3.0}),
    "read from the name": (
        'label_replace(rate({a="1"}[1m]), "n", "$1", "__name__", "(.+)")',
        {'{a="1", n="x"}': 1.0, '{a="1", n="y"}': 2.0},
    ),
    "named anew": ('label_replace(-x, "__name__", "z_$1", "__name__", "(.+)")', {'{__name__="z_x", a="1"}': -100.0}),
    "kept by none": ("topk(2, x * 2)", {'{a="1"}': 200.0}),
    "through a subquery": ("last_over_time(rate(x[1m])[30s:10s])", {'{a="1"}': 1.0}),
    "not dropped": ("x", {'{__name__="x", a="1"}': 100.0}),
    "a scalar": ("scalar(x)", 100.0),
}


@pytest.mark.parametrize(("expr", "expected"), DELAYED.values(), ids=DELAYED)
def test_delayed_name_removal(expr, expected):
    """With the feature flag names go at the end, and tell elements apart until then."""
    assert expected == ask(expr, BOTH, at=100, delays_name_removal=True)


@pytest.mark.parametrize("expr", ["rate({a='1'}[1m])", "sum by (__name__) (rate({a='1'}[1m]))", "abs({a='1'})"])
def test_delayed_duplicates(expr):
    """With the feature flag duplicates are found at the end."""
    with pytest.raises(EvaluationError, match="same labelset"):
        ask(expr, BOTH, at=100, delays_name_removal=True)


ABSENT = {
    "there": ("absent(x)", {}),
    "labels of `=`": ('absent(n{a="1",b!="2",c=~"3"})', {'{a="1"}': 1.0}),
    "asked twice": ('absent(n{a="1",a="2",b="3"})', {'{b="3"}': 1.0}),
    "not a selector": ("absent(n > 1)", {"{}": 1.0}),
    "no samples in the range": ('absent_over_time(x{a="1"}[5s])', {'{a="1"}': 1.0}),
    "samples in the range": ("absent_over_time(x[15s])", {}),
    "a subquery": ('absent_over_time(n{a="1"}[15s:5s])', {"{}": 1.0}),
}


@pytest.mark.parametrize(("expr", "expected"), ABSENT.values(), ids=ABSENT)
def test_absent(expr, expected):
    """What is not there is 1, with the labels that it was asked by."""
    assert expected == ask(expr, TWO, at=29)


def test_values_without_series():
    """Numbers, texts and the clock need no series."""
    assert (2.5, "text", 7.5, math.pi) == (ask("5 / 2"), ask("'text'"), ask("time()", at=7.5), ask("pi()"))
    assert {"{}": 7.5} == ask("vector(time())", at=7.5)
    assert {"{}": 1.0} == ask("month()", at=0)


def test_scalar():
    """The only element is a scalar's value; none or many are NaN."""
    assert ask("scalar(x{a='1'})", TWO, at=20) == 3.0
    assert math.isnan(ask("scalar(x)", TWO, at=20))
    assert math.isnan(ask("scalar(n)", TWO, at=20))


def test_range_is_no_value():
    """A range by itself has no value, and says what to do."""
    with pytest.raises(EvaluationError, match="apply a function"):
        ask("x[5m]", TWO)


def test_set_of_elements_where_a_scalar_filters():
    """A comparison with a scalar keeps the element's value, on whichever side the scalar stands."""
    assert {'{__name__="x", a="2"}': 30.0} == ask("x > 3", TWO, at=20) == ask("3 < x", TWO, at=20)
    assert {'{a="1"}': 0.0, '{a="2"}': 1.0} == ask("3 < bool x", TWO, at=20)


def test_known_parts():
    """What an expression shares with one before it is not evaluated again at that moment."""
    asked = []

    def select(matchers):
        asked.append(matchers)
        return []

    known = {}
    for expression in ("sum(rate(x[5m])) > 1", "sum(rate(x[5m])) > 2", "rate(x[5m]) > 3"):
        evaluate(parse(expression), select, 60_000, known=known)
    assert len(asked) == 1
    evaluate(parse("sum(rate(x[5m])) > 1"), select, 61_000, known={})
    assert len(asked) == 2


@pytest.mark.parametrize("expression", ["max_over_time(x[1d:1ms])", "sum_over_time(avg_over_time(x[1h:1s])[1h:1s])"])
def test_too_many_steps(expression):
    """A subquery that would hold up every other rule is an error, also when it is two that multiply."""
    with pytest.raises(EvaluationError, match="more than 50,000 steps"):
        evaluate(parse(expression), lambda _: [], 100_000_000)
