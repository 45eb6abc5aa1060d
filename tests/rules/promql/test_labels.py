"""Label sets and what is made of them."""

import pytest

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql import labels
from otel_latency.rules.promql.labels import (
    WITH_DROPPED_NAME,
    WITHOUT_NAME,
    DroppedName,
    Memo,
    get,
    grouping,
    replaced,
    settled,
    show,
    unique,
)
from otel_latency.rules.promql.values import Element

X = (("__name__", "x"), ("a", "1"), ("b", "2"))


def test_grouping():
    """By some labels means only those; without some means neither them nor the name."""
    assert grouping(("a", "c"), is_without=False)[X] == (("a", "1"),)
    assert grouping(("a", "c"), is_without=True)[X] == (("b", "2"),)
    assert grouping((), is_without=False)[X] == ()
    assert grouping(("__name__",), is_without=False)[X] == (("__name__", "x"),)
    assert WITHOUT_NAME[X] == (("a", "1"), ("b", "2"))


def test_equal_results_are_one_object():
    """Label sets that reduce to the same share it, so that comparing them is quick."""
    by_a = grouping(("a",), is_without=False)
    assert by_a[X] is by_a[("__name__", "y"), ("a", "1")]


def test_memo_is_bounded(monkeypatch):
    """A full memo starts anew, and answers as before."""
    monkeypatch.setattr(labels, "_LIMIT", 3)
    memo = Memo(lambda labels: labels[:1])
    results = [memo[("a", str(number)), ("b", "2")] for number in range(10)]
    assert [(("a", str(number)),) for number in range(10)] == results
    assert len(memo) <= 3


def test_replaced():
    """A label is set in its place in the order; an empty value removes it."""
    assert (("__name__", "x"), ("a", "3"), ("aa", "4")) == replaced(X, [("aa", "4"), ("a", "3"), ("b", "")])


def test_get():
    """A label that is not there is empty."""
    assert ("1", "") == (get(X, "a"), get(X, "c"))


def test_show():
    """A label set is shown as Prometheus shows it."""
    assert r'{__name__="x", a="say \"hi\"\\\n"}' == show((("__name__", "x"), ("a", 'say "hi"\\\n')))
    assert "{}" == show(())


def test_unique():
    """Elements with the same labels are an error; others pass as they are."""
    vector = [Element((), 1.0), Element(X, 1.0)]
    assert vector is unique(vector)
    with pytest.raises(EvaluationError, match="same labelset"):
        unique([*vector, Element(X, 2.0)])


def test_dropped_name():
    """A dropped name is still to be read, tells elements apart, and is neither the name nor another's."""
    dropped = WITH_DROPPED_NAME[X]
    assert get(dropped, "__name__").upper() == "X"
    assert dropped != X
    assert dropped == WITH_DROPPED_NAME[X]
    assert DroppedName("x") != DroppedName("y")
    assert len({dropped, X, WITH_DROPPED_NAME[("__name__", "y"), ("a", "1")]}) == 3


def test_settled():
    """In the end dropped names go and others stay."""
    assert [Element(WITHOUT_NAME[X], 1.0), Element(X, 2.0)] == settled(
        [Element(WITH_DROPPED_NAME[X], 1.0), Element(X, 2.0)]
    )
