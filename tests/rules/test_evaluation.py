import pytest

from otel_latency.errors import EvaluationError
from otel_latency.records import Alert
from otel_latency.rules.evaluation import (
    AlertTexts,
    Outside,
    alert_series,
    breaches,
    link,
    recorded,
    sent_alert,
    vector,
)
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.values import Element
from otel_latency.rules.rule import AlertingRule, RecordingRule
from otel_latency.rules.state import AlertState, State

NAME = ("__name__", "x")
OUTSIDE = Outside({"cluster": "eu", "stage": "none"}, "http://agent:8080")


def alerting(labels=(), annotations=()):
    return AlertingRule("Slow", "x>1", parse("x>1"), labels, annotations)


def found(rule, *elements, query=None):
    return breaches(AlertTexts(rule, OUTSIDE, 3), elements, 1000, query or (lambda _: []))


def test_vector():
    """A scalar is one element without labels; a text is no result."""
    assert [Element((), 1.5)] == vector(1.5)
    assert [Element((NAME,), 2.0)] == vector([Element((NAME,), 2.0)])
    with pytest.raises(EvaluationError, match=r"^rule result is not a vector or scalar$"):
        vector("text")


def test_labels_of_an_alert():
    """The series' labels without its name, the rule's over them, the alert's name over all; an empty one is none."""
    rule = alerting((("alertname", "Other"), ("gone", "{{ $labels.none }}"), ("stage", "the {{ $labels.stage }}")))
    [labels] = found(rule, Element((NAME, ("a", "1"), ("gone", "2"), ("stage", "llm")), 2.0))
    assert (("a", "1"), ("alertname", "Slow"), ("stage", "the llm")) == labels


def test_templates():
    """Templates see the labels of the result, its name among them, and can ask for more."""
    rule = alerting(
        annotations=(("a", "{{ $labels }} {{ $externalLabels.cluster }}"), ("b", '{{ query "y" | first | value }}'))
    )
    [breach] = found(rule, Element((NAME, ("stage", "llm")), 2.0), query=lambda _: [({}, 7.0)]).values()
    assert (("a", "map[__name__:x stage:llm] eu"), ("b", "7")) == breach.annotations


def test_failing_template():
    """An alert goes out even if its text cannot be made."""
    rule = alerting(annotations=(("a", '{{ query "y" | first }}'),))
    [breach] = found(rule, Element((), 2.0)).values()
    assert breach.annotations[0][1].startswith("<error expanding template: ")


def test_one_alert_twice():
    """Two elements with the labels of one alert are an error."""
    rule = alerting((("stage", "all"),))
    with pytest.raises(EvaluationError, match="same labelset after applying alert labels"):
        found(rule, Element((("stage", "llm"),), 2.0), Element((("stage", "tts"),), 2.0))


def test_recorded():
    """A recorded series has the rule's name and labels, in order."""
    rule = RecordingRule("y", "x", parse("x"), (("gone", ""), ("stage", "all")))
    element = Element((NAME, ("gone", "1"), ("stage", "llm"), ("zone", "a")), 2.0)
    assert {(("__name__", "y"), ("stage", "all"), ("zone", "a")): 2.0} == recorded(rule, [element])
    with pytest.raises(EvaluationError, match="same labelset after applying rule labels"):
        recorded(rule, [element, element])


def test_series_of_alerts():
    """As in Prometheus, ALERTS shows a label that came to nothing as its template, and whole seconds."""
    rule = alerting((("gone", "{{ $labels.none }}"),))
    labels = (("alertname", "Slow"),)
    pending = AlertState(labels, (), 2.0, 1999)
    over = AlertState(labels, (), 2.0, 1999, State.INACTIVE, 2000, 3000)
    template = ("gone", "{{ $labels.none }}")
    assert {
        (("__name__", "ALERTS"), ("alertname", "Slow"), ("alertstate", "pending"), template): 1.0,
        (("__name__", "ALERTS_FOR_STATE"), ("alertname", "Slow"), template): 1.0,
    } == alert_series(rule, [pending])
    assert {} == alert_series(rule, [over])


def test_sent_alert():
    """What is sent starts when it fired, and has the outside's labels where it has none of that name."""
    firing = AlertState((("alertname", "Slow"), ("stage", "llm")), (("a", "b"),), 2.0, 500, State.FIRING, 1250)
    expected = Alert(
        labels={"alertname": "Slow", "cluster": "eu", "stage": "llm"},
        annotations={"a": "b"},
        starts_at=1.25,
        ends_at=9.0,
        is_firing=True,
        value=2.0,
        generator_url="http://agent:8080/graph?g0.expr=x+%3E+1&g0.tab=1",
        valid_for=7.0,
        active_at=0.5,
    )
    assert expected == sent_alert(firing, OUTSIDE, 2000, 7000, link(parse("x>1"), OUTSIDE))
