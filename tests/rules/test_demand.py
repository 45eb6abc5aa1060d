"""What rules can ask for, and what that costs."""

from __future__ import annotations

import pytest

from otel_latency.rules.demand import Demand, Retention, asked, demands, steps
from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Matcher,
    MatchOp,
    MatrixSelector,
    Number,
    Subquery,
    VectorSelector,
)
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.rule import AlertingRule
from otel_latency.rules.series import Series

X = (Matcher("__name__", MatchOp.EQUAL, "x"),)
SLOW_X = (*X, Matcher("stage", MatchOp.REGEX, "llm|tts"))

EXPRESSIONS = {
    "the moment": (VectorSelector(X), [Demand(X, 0)]),
    "an offset": (VectorSelector(X, offset_ms=7_000), [Demand(X, 7_000)]),
    "the future is not kept": (VectorSelector(X, offset_ms=-7_000), [Demand(X, 0)]),
    "a range": (Call("rate", (MatrixSelector(VectorSelector(X), 300_000),)), [Demand(X, 300_000)]),
    "a range with an offset": (
        Call("rate", (MatrixSelector(VectorSelector(X, offset_ms=1_000), 5_000),)),
        [Demand(X, 6_000)],
    ),
    "a subquery": (
        Subquery(Call("rate", (MatrixSelector(VectorSelector(X), 5_000),)), 60_000, 2_000, 3_000),
        [Demand(X, 70_000)],
    ),
    "a subquery without a step": (Subquery(VectorSelector(X), 60_000), [Demand(X, 61_000)]),
    "both sides and a parameter": (
        Binary(
            op=">",
            left=Aggregation("topk", VectorSelector(SLOW_X), Call("scalar", (VectorSelector(X),))),
            right=Number(1.0),
        ),
        [Demand(X, 0), Demand(SLOW_X, 0)],
    ),
}


@pytest.mark.parametrize(("node", "expected"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_demands(node, expected):
    """Each selector asks for what lies behind its ranges, offsets and subqueries."""
    assert expected == list(demands(node, interval_ms=1_000))


STEPS = {
    "none": ("rate(x[1d])", 1),
    "one": ("max_over_time(rate(x[1m])[1h:1m])", 61),
    "one in another": ("max_over_time(sum_over_time(x[10s:1s])[1m:10s])", 77),
    "beside each other": ("max_over_time(x[1h:1m]) + max_over_time(x[10m:1m])", 61),
    "at the interval": ("max_over_time(x[1d:])", 1),
}


@pytest.mark.parametrize(("expression", "expected"), STEPS.values(), ids=STEPS)
def test_steps(expression, expected):
    """Subqueries within subqueries multiply."""
    assert expected == steps(parse(expression))


TEMPLATES = {
    "none": ('{{ $value | humanize }} of {{ "depth" }}', []),
    "a query": ('{{ query "depth" | first | value }}', ["depth"]),
    "a raw string": ("{{ range query `depth[5m]` }}{{ end }}", ["depth[5m]"]),
    "filled in by printf": (
        "{{ printf \"depth{pod=%q,zone='%s',a='b'}\" $labels.pod \"y z\" | query }}",
        ['depth{a="b"}'],
    ),
}


@pytest.mark.parametrize(("text", "expected"), TEMPLATES.values(), ids=TEMPLATES)
def test_queries_in_templates(text, expected):
    """What a template queries is asked for as well, with any value of the labels that it fills in."""
    rule = AlertingRule("A", "x", parse("x"), annotations=(("summary", text),))
    wanted = [one for query in ["x", *expected] for one in demands(parse(query), interval_ms=1_000)]
    found = list(asked(rule, interval_ms=1_000))
    assert wanted == [one for one in found if one.matchers[0].value in ("x", "depth")]


def make(*wanted, max_bytes=1 << 20):
    return Retention(wanted, sample_ms=1_000, margin_ms=2_000, max_bytes=max_bytes)


def labels(name, **more):
    return tuple(sorted({"__name__": name, **more}.items()))


def test_retention():
    """A series is kept for the longest look back of the selectors that it meets, and not at all when none asks."""
    retention = make(Demand(X, 0), Demand(SLOW_X, 300_000))
    assert retention(labels("x", stage="stt")) == 2_000
    assert retention(labels("x", stage="llm")) == 302_000
    assert retention(labels("y")) is None


def test_longest_reach():
    """Of two rules with one selector the one that looks further back counts."""
    assert make(Demand(X, 60_000), Demand(X, 0))(labels("x")) == 62_000


def test_asks_for():
    """Names that no selector can mean are known; a selector without a name can mean any."""
    assert [make(Demand(X, 0)).asks_for(name) for name in "xy"] == [True, False]
    assert make(Demand((Matcher("stage", MatchOp.EQUAL, "llm"),), 0)).asks_for("y")


def test_too_much():
    """The window that would break the budget is refused with the sum, and the series kept for what looks less far."""
    retention = make(Demand(X, 0), Demand(SLOW_X, 3_600_000), max_bytes=150_000)
    kept = [retention(labels("x", stage="llm", n=str(n))) for n in range(4)]
    assert kept == [3_602_000, 3_602_000, 2_000, 2_000]
    assert retention.refused == {
        Demand(
            SLOW_X, 3_600_000
        ): "it looks back 1h on 3 series: 3,602 samples each make 0.2 MiB, and rules.max_bytes leaves 0.1 MiB for"
        " all rules: shorten the window, select fewer series, or raise rules.max_bytes"
    }


def test_one_series_too_much():
    """A window that not even one series has room for is refused at once."""
    (refusal,) = make(Demand(X, 30 * 86_400_000)).refused.values()
    assert "it looks back 30d on 1 series" in refusal


def test_recount():
    """What is kept no longer makes room for others; what was refused stays refused, for its past is not there."""
    retention = make(Demand(X, 3_600_000), max_bytes=140_000)
    assert [retention(labels("x", n=n)) for n in "12"] == [3_602_000, 3_602_000]
    retention.recount([Series(labels("x", n="1"), keep_ms=2_000)])
    assert [retention(labels("x", n=n)) for n in "345"] == [3_602_000, 3_602_000, None]
    retention.recount([])
    assert retention(labels("x", n="6")) is None
