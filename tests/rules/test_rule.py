from dataclasses import replace

from otel_latency.rules.promql.parse import parse
from otel_latency.rules.rule import AlertingRule, RecordingRule, RuleGroup

ALERT = AlertingRule("Slow", "x > 1", parse("x > 1"), line=3)
GROUP = RuleGroup("latency", "latency.yaml", (ALERT, RecordingRule("y", "x", parse("x"))))


def test_equality():
    """Rules are equal when they would do the same, wherever they stand in their file."""
    assert replace(ALERT, line=30) == ALERT
    assert replace(ALERT, hold_ms=1) != ALERT
    assert replace(GROUP, interval_ms=1) != GROUP


def test_group():
    """A group is known by its file and name, and tells its alerting rules from the others."""
    assert ("latency.yaml", "latency") == GROUP.key
    assert [ALERT] == list(GROUP.alerting())
