"""What a rule measures, and against what."""

from __future__ import annotations

import pytest

from otel_latency.records import Alert
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.resolved import figures
from otel_latency.rules.series import SeriesTable

LABELS = {"alertname": "Slow", "severity": "critical", "service": "bot", "stage": "llm"}
FIGURES = {
    "a threshold": ("p99 > 1.5", "2.25", "1.5", "0.25"),
    "a guard": ("p99 > 1.5 and on (stage) calls > 10", "2.25", "1.5", "0.25"),
    "an exception": ("p99 > 1.5 unless on (stage) calls > 100", "2.25", "1.5", "0.25"),
    "a threshold from a series": ("p99 > on (stage) group_left target", "2.25", "1", "0.25"),
    "arithmetic": ("p99 * 1000 > 1500 * 1", "2.25", "1500", "250"),
    "a threshold first": ("1.5 < p99", "2.25", "1.5", "0.25"),
    "of one among many": ("sum by (service) (calls) > 10", "2.25", "10", "7"),
    "not a number": ("0 / idle > 1", "2.25", "1", "no data"),
    "gone": ("gone > 1", "2.25", "1", None),
    "ambiguous": ('p99 + on () group_left () {__name__=~"calls|target"} > 1', "2.25", "1", None),
    "no comparison": ("p99", None, None, None),
    "a comparison that always yields": ("p99 > bool 1.5", None, None, None),
    "two ways to breach": ("p99 > 1.5 or calls > 100", None, None, None),
}


@pytest.mark.parametrize(("expression", "value", "threshold", "now"), FIGURES.values(), ids=FIGURES)
def test_figures(expression, value, threshold, now):
    """The value that breached, the threshold, and at resolve the measured side by then, for the alert's own labels."""
    table = SeriesTable(lambda _: 60_000)
    stages = (
        ("p99", "llm", 0.25),
        ("p99", "tts", 9.0),
        ("calls", "llm", 7.0),
        ("target", "llm", 1.0),
        ("idle", "llm", 0.0),
    )
    for name, stage, figure in stages:
        table.append((("__name__", name), ("service", "bot"), ("stage", stage)), 1_000, figure)

    def said(*, is_firing):
        alert = Alert(LABELS, {}, 0.0, 1.0, is_firing, 2.25)
        return figures(parse(expression), alert, lambda node: evaluate(node, table.select, 1_000))

    firing, resolved = said(is_firing=True), said(is_firing=False)
    assert (firing.get("value"), firing.get("threshold")) == (value, threshold)
    assert (resolved.get("threshold"), resolved.get("resolved_value")) == (threshold, now)
    assert "resolved_value" not in firing
