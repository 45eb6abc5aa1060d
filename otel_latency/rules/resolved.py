"""The value at resolve: what Prometheus never tells, and everybody on call asks for first.

When an alert resolves, its last value is the last one that breached. What the measured side of the rule's comparison
is by now says whether all is well or only just below the threshold: for `p99 > 1.5 and on (stage) calls > 10` it is
the `p99` of the alert's own labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from otel_latency.errors import EvaluationError
from otel_latency.rules.promql.nodes import METRIC_NAME, Binary, Node, ValueType
from otel_latency.rules.promql.signatures import value_type
from otel_latency.rules.promql.values import Vector

_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})


def measured(node: Node) -> Node | None:
    """The side of the comparison that is no threshold; None when the expression compares nothing."""
    while isinstance(node, Binary) and node.op in ("and", "unless"):
        node = node.left
    if not isinstance(node, Binary) or node.op not in _COMPARISONS or node.is_bool:
        return None
    return node.left if value_type(node.left) is ValueType.INSTANT_VECTOR else node.right


def value_now(nodes: Iterable[Node], labels: Mapping[str, str], query: Callable[[Node], Vector]) -> float | None:
    """What the rule with one of *nodes* measures now for an alert of *labels*; None when that cannot be told."""
    for node in map(measured, nodes):
        if node is None:
            continue
        try:
            elements = query(node)
        except EvaluationError:
            continue
        fitting = [
            element.value
            for element in elements
            if all(labels.get(name) == value for name, value in element.labels if name != METRIC_NAME)
        ]
        if len(fitting) == 1:
            return fitting[0]
    return None
