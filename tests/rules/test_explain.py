from otel_latency.errors import EvaluationError
from otel_latency.rules.explain import Explained, explain
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.values import Element
from otel_latency.rules.series import SeriesTable

TEXT = "sum by (stage) (x)  > 1 and rate(x[1m]) > 2"


def test_explain():
    """Each part of an expression has its text, its place and its value now; literals are left out."""
    table = SeriesTable(lambda _: 600_000)
    for replica in "12":
        labels = (("__name__", "x"), ("replica", replica), ("stage", "llm"))
        table.append(labels, 0, 0.0)
        table.append(labels, 60_000, 60.0)

    def value_of(node):
        return evaluate(node, table.select, 60_000, semantics=2)

    by_stage = [Element((("stage", "llm"),), 120.0)]
    rates = [Element((("replica", replica), ("stage", "llm")), 1.0) for replica in "12"]
    found = explain(parse(TEXT), TEXT, value_of)
    assert (TEXT, 0, [], "") == (found.text, found.start, found.value, found.error)
    left, right = found.parts
    assert ("sum by (stage) (x)  > 1", 0, by_stage) == (left.text, left.start, left.value)
    assert ("rate(x[1m]) > 2", 28, []) == (right.text, right.start, right.value)
    [rate] = right.parts
    assert ("rate(x[1m])", rates) == (rate.text, rate.value)
    [window] = rate.parts
    assert ("x[1m]", None, "") == (window.text, window.value, window.error)
    assert [("x", 33, 2)] == [(part.text, part.start, len(part.value)) for part in window.parts]


def test_error():
    """A part that has no value says why, and the others still have theirs."""

    def value_of(node):
        if node == parse("a + b"):
            raise EvaluationError("many-to-many")
        return 1.0

    found = explain(parse("a + b"), "a + b", value_of)
    parts = [Explained("a", 0, 1.0, "", []), Explained("b", 4, 1.0, "", [])]
    assert Explained("a + b", 0, None, "many-to-many", parts) == found
