"""Trees as text."""

import pytest
from hypothesis import HealthCheck, given, settings
from rules.promql.expressions import expressions

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.show import show

SHOWN = {
    "rate( foo [250ms] offset  -1500ms )": "rate(foo[250ms] offset -1s500ms)",
    "sum(foo)by(a,b)": "sum by (a, b) (foo)",
    "sum by () (foo)": "sum(foo)",
    "sum without () (foo)": "sum without () (foo)",
    "topk by (a) (3,foo)": "topk by (a) (3, foo)",
    "a*on(x)group_left()(b+c)": "a * on (x) group_left () (b + c)",
    "a and(b or c)": "a and (b or c)",
    "(a and b)or c": "a and b or c",
    "a>bool 1e3": "a > bool 1000",
    "(-1)^2": "(-1) ^ 2",
    "-(1^2)": "-1 ^ 2",
    "-(a*b)": "-(a * b)",
    "2^-a": "2 ^ -a",
    "(a^b)^c": "(a ^ b) ^ c",
    "1-(2-3)": "1 - (2 - 3)",
    "(foo offset 5m)[1h:]": "(foo offset 5m)[1h:]",
    "(a > 1)[1h:15s] offset 5m": "(a > 1)[1h:15s] offset 5m",
    '{__name__="foo",a!=""}': 'foo{a!=""}',
    '{a="b",__name__="foo"}': '{a="b", __name__="foo"}',
    '{"foo bar"}': '{__name__="foo bar"}',
    '{__name__="sum"}': '{__name__="sum"}',
    '{__name__="foo",__name__!="bar"}': '{__name__="foo", __name__!="bar"}',
    'foo{"a b"=~`\\d`}': 'foo{"a b"=~"\\\\d"}',
    'sum by ("inf") (foo)': 'sum by ("inf") (foo)',
    "+Inf": "Inf",
    "-NaN": "NaN",
    "5m": "300",
}


@pytest.mark.parametrize(("text", "shown"), SHOWN.items())
def test_shown(text, shown):
    """An expression has one spelling, with the parentheses that it needs and no more."""
    assert shown == show(parse(text))


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(expressions)
def test_round_trip(text):
    """What is shown parses back into an equal tree, and is shown the same again."""
    try:
        tree = parse(text)
    except ExpressionError:
        return
    shown = show(tree)
    assert (tree, shown) == (parse(shown), show(parse(shown)))
