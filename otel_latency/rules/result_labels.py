"""Which labels the result of an expression can have, worked out from the expression alone.

Aggregations and matchings say which labels they keep; a selector has those of its metric, where that is known, and
those that every target may get. For the linter: it never evaluates anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_latency.rules.contract import RECORDED, TARGET_LABELS, Metric
from otel_latency.rules.promql.nodes import (
    METRIC_NAME,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matching,
    MatchOp,
    MatrixSelector,
    Node,
    String,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import SET_OPERATORS, value_type


@dataclass(frozen=True, slots=True)
class LabelSet:
    """`names`, or with `is_open` every label but `names`."""

    names: frozenset[str] = frozenset()
    is_open: bool = False

    def has(self, name: str) -> bool:
        return (name in self.names) is not self.is_open

    def keep(self, names: frozenset[str]) -> LabelSet:
        return LabelSet(names - self.names if self.is_open else names & self.names)

    def drop(self, names: frozenset[str]) -> LabelSet:
        return LabelSet(self.names | names if self.is_open else self.names - names, self.is_open)

    def add(self, names: frozenset[str]) -> LabelSet:
        return LabelSet(self.names - names if self.is_open else self.names | names, self.is_open)

    def union(self, other: LabelSet) -> LabelSet:
        if self.is_open and other.is_open:
            return LabelSet(self.names & other.names, is_open=True)
        if other.is_open:
            return other.union(self)
        return self.add(other.names)


NONE: Final = LabelSet()
ANY: Final = LabelSet(is_open=True)
_KEEPS_LABELS: Final = frozenset({"topk", "bottomk"})


def metric_name(selector: VectorSelector) -> str:
    """The name that *selector* asks for, empty when it asks for several or by another label."""
    return next((one.value for one in selector.matchers if one.label == METRIC_NAME and one.op is MatchOp.EQUAL), "")


def result_labels(node: Node, known: Mapping[str, Metric]) -> LabelSet:
    """What *node*'s result can be labelled with; *known* are series by name."""
    match node:
        case VectorSelector():
            found = known.get(metric_name(node), RECORDED)
            return ANY if found is RECORDED else LabelSet(found.labels | TARGET_LABELS | {METRIC_NAME})
        case MatrixSelector():
            return result_labels(node.selector, known)
        case Subquery() | Unary():
            return result_labels(node.expr, known)
        case Call():
            return _of_call(node, known)
        case Aggregation():
            return _of_aggregation(node, known)
        case Binary():
            return _of_binary(node, known)
        case _:
            return NONE


def _of_call(call: Call, known: Mapping[str, Metric]) -> LabelSet:
    vectors = [arg for arg in call.args if value_type(arg) in {ValueType.INSTANT_VECTOR, ValueType.RANGE_VECTOR}]
    if not vectors or call.function == "scalar":
        return NONE
    if call.function in {"absent", "absent_over_time"}:
        return _of_absent(vectors[0])
    found = result_labels(vectors[0], known)
    if call.function in {"label_replace", "label_join"} and isinstance(call.args[1], String):
        return found.add(frozenset({call.args[1].value}))
    if call.function == "histogram_quantile":
        return found.drop(frozenset({"le"}))
    return found


def _of_absent(node: Node) -> LabelSet:
    """What equality in the selector says, since there is no series to take labels from."""
    selector = node.selector if isinstance(node, MatrixSelector) else node
    if not isinstance(selector, VectorSelector):
        return NONE
    equal = {one.label for one in selector.matchers if one.op is MatchOp.EQUAL}
    return LabelSet(frozenset(equal - {METRIC_NAME}))


def _of_aggregation(node: Aggregation, known: Mapping[str, Metric]) -> LabelSet:
    found = result_labels(node.expr, known)
    if node.op in _KEEPS_LABELS:
        return found
    labels = frozenset(node.labels)
    kept = found.drop(labels | {METRIC_NAME}) if node.is_without else found.keep(labels)
    if node.op == "count_values" and isinstance(node.param, String):
        return kept.add(frozenset({node.param.value}))
    return kept


def _of_binary(node: Binary, known: Mapping[str, Metric]) -> LabelSet:
    left, right = result_labels(node.left, known), result_labels(node.right, known)
    if node.matching is None:
        return left if value_type(node.left) is ValueType.INSTANT_VECTOR else right
    if node.op in SET_OPERATORS:
        return left.union(right) if node.op == "or" else left
    return _matched(left, right, node.matching)


def _matched(left: LabelSet, right: LabelSet, matching: Matching) -> LabelSet:
    labels, include = frozenset(matching.labels), frozenset(matching.include)
    if matching.cardinality is Cardinality.MANY_TO_ONE:
        return left.add(frozenset(name for name in include if right.has(name)))
    if matching.cardinality is Cardinality.ONE_TO_MANY:
        return right.add(frozenset(name for name in include if left.has(name)))
    return left.keep(labels) if matching.is_on else left.drop(labels)
