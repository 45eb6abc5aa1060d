"""What a rule measures by the time its alert resolves."""

from __future__ import annotations

import pytest

from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.resolved import value_now
from otel_latency.rules.series import SeriesTable

VALUES = {
    "a threshold": ("p99 > 1.5", 0.25),
    "a guard": ("p99 > 1.5 and on (stage) calls > 10", 0.25),
    "an exception": ("p99 > 1.5 unless on (stage) calls > 100", 0.25),
    "a threshold from a series": ("p99 > on (stage) group_left target", 0.25),
    "arithmetic": ("p99 * 1000 > 1500", 250.0),
    "below": ("p99 <= 0", 0.25),
    "no comparison": ("p99", None),
    "a comparison that always yields": ("p99 > bool 1.5", None),
    "two ways to breach": ("p99 > 1.5 or calls > 100", None),
    "a threshold first": ("1.5 < p99", 0.25),
    "one of many": ("sum by (service) (calls) > 10", 7.0),
    "gone": ("gone > 1", None),
    "ambiguous": ('p99 + on () group_left () {__name__=~"calls|target"} > 1', None),
}


@pytest.mark.parametrize(("expression", "expected"), VALUES.values(), ids=VALUES)
def test_value_now(expression, expected):
    """The measured side of the comparison, for the labels of the alert."""
    table = SeriesTable(lambda _: 60_000)
    for name, stage, value in (
        ("p99", "llm", 0.25),
        ("p99", "tts", 9.0),
        ("calls", "llm", 7.0),
        ("target", "llm", 1.0),
    ):
        table.append((("__name__", name), ("service", "bot"), ("stage", stage)), 1_000, value)
    labels = {"alertname": "Slow", "severity": "critical", "service": "bot", "stage": "llm"}
    found = value_now([parse(expression)], labels, lambda node: evaluate(node, table.select, 1_000))
    assert expected == found
