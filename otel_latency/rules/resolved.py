"""The figures that Prometheus leaves to the author of a rule, and everybody on call asks for first.

Of a comparison one side is measured and the other is the threshold: for `p99 > 1.5 and on (stage) calls > 10` they are
`p99` and 1.5. A firing alert is told with its value and the threshold. When it resolves, its last value is the last one
that breached; what the measured side is by now says whether all is well or only just below the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isnan
from typing import Final, NamedTuple

from otel_latency.errors import EvaluationError
from otel_latency.records import Alert
from otel_latency.rules.promql.nodes import METRIC_NAME, Binary, Node, ValueType
from otel_latency.rules.promql.signatures import COMPARISONS, value_type
from otel_latency.rules.promql.values import Value

VALUE: Final = "value"
THRESHOLD: Final = "threshold"
RESOLVED_VALUE: Final = "resolved_value"
"""Annotations beyond those of the rule; one of its own of the same name goes first."""

Query = Callable[[Node], Value]


class Comparison(NamedTuple):
    measured: Node
    threshold: Node


def comparison(node: Node) -> Comparison | None:
    """The sides of what *node* compares; None when it compares nothing, or in more ways than one."""
    while isinstance(node, Binary) and node.op in ("and", "unless"):
        node = node.left
    if not isinstance(node, Binary) or node.op not in COMPARISONS or node.is_bool:
        return None
    if value_type(node.left) is ValueType.INSTANT_VECTOR:
        return Comparison(node.left, node.right)
    return Comparison(node.right, node.left)


def figures(node: Node, alert: Alert, query: Query) -> dict[str, str]:
    """What can be said of an *alert* of the rule with the expression *node* beyond its own annotations."""
    sides = comparison(node)
    if sides is None:
        return {}
    said = {}
    threshold = _of(alert.labels, sides.threshold, query)
    if threshold is not None:
        said = {VALUE: _shown(alert.value), THRESHOLD: _shown(threshold)}
    if not alert.is_firing:
        value = _of(alert.labels, sides.measured, query)
        if value is not None:
            said[RESOLVED_VALUE] = _shown(value)
    return said


def _of(labels: Mapping[str, str], node: Node, query: Query) -> float | None:
    """What *node* yields for an alert of *labels*; None when that cannot be told."""
    try:
        value = query(node)
    except EvaluationError:
        return None
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return None
    fitting = [
        element.value
        for element in value
        if all(labels.get(name) == value for name, value in element.labels if name != METRIC_NAME)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _shown(value: float) -> str:
    return "no data" if isnan(value) else f"{value:.4g}"  # not 900m, which reads as minutes
