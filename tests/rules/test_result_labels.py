"""Which labels an expression's result can have. `?` stands for a label that nothing in the expression names."""

import pytest

from otel_latency.rules.contract import RECORDED, metric
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.result_labels import ANY, NONE, LabelSet, result_labels

KNOWN = {
    "a": metric("gauge", "x", "y"),
    "b": metric("gauge", "y", "z"),
    "h_bucket": metric("counter", "x", "le"),
    "r": RECORDED,
}
CANDIDATES = ("x", "y", "z", "le", "job", "new", "?")

CASES = {
    "a": "x y job",
    "unknown": "x y z le job new ?",
    "r": "x y z le job new ?",
    '{__name__=~"a|b"}': "x y z le job new ?",
    "rate(a[5m])": "x y job",
    "max_over_time((a + 1)[5m:1m])": "x y job",
    "-a": "x y job",
    "1": "",
    "vector(1)": "",
    "scalar(a)": "",
    "a > 1": "x y job",
    "1 < a": "x y job",
    "sum(a)": "",
    "sum by (x, z) (a)": "x",
    "sum by (x, z) (unknown)": "x z",
    "sum without (x) (a)": "y job",
    "sum without (x) (unknown)": "y z le job new ?",
    "topk(1, a)": "x y job",
    'count_values("new", a)': "new",
    'count_values by (x) ("new", a)': "x new",
    "a and b": "x y job",
    "a or b": "x y z job",
    "a or unknown": "x y z le job new ?",
    "unknown or a": "x y z le job new ?",
    "a unless b": "x y job",
    "a * on (y) b": "y",
    "a * ignoring (x) b": "y job",
    "a * on (y) group_left () b": "x y job",
    "a * on (y) group_left (z, x) b": "x y z job",
    "a * on (y) group_left (new) b": "x y job",
    "b * on (y) group_right (z) a": "x y z job",
    "histogram_quantile(0.9, rate(h_bucket[5m]))": "x job",
    'label_replace(a, "new", "$1", "x", "(.*)")': "x y job new",
    'label_join(sum(a), "new", "-", "x")': "new",
    'absent(a{x="1", y!="2"})': "x",
    'absent_over_time(a{job="1"}[5m])': "job",
    "absent(sum(a))": "",
}


@pytest.mark.parametrize("expr", CASES)
def test_result_labels(expr):
    """As Prometheus would label it."""
    labels = result_labels(parse(expr), KNOWN)
    assert CASES[expr].split() == [name for name in CANDIDATES if labels.has(name)]


def test_sets_that_are_open():
    """A set that has every label but some."""
    but_x = ANY.drop(frozenset({"x"}))
    assert (False, True) == (but_x.has("x"), but_x.has("y"))
    assert ANY == but_x.add(frozenset({"x"}))
    assert LabelSet(frozenset({"y"})) == but_x.keep(frozenset({"x", "y"}))
    assert but_x == but_x.union(NONE)
    assert ANY == but_x.union(ANY) == but_x.union(LabelSet(frozenset({"x"})))
