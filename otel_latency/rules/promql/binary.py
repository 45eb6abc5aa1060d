"""Operators between scalars, between a vector and a scalar, and between two vectors whose elements are matched."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import NoReturn

from otel_latency.errors import EvaluationError
from otel_latency.records import Labels
from otel_latency.rules.promql.arithmetic import divide, modulo, power
from otel_latency.rules.promql.labels import Memo, dropped, get, grouping, kept, replaced, show, unique
from otel_latency.rules.promql.nodes import METRIC_NAME, Binary, Cardinality, Matching
from otel_latency.rules.promql.values import Element, Semantics, Vector

ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": modulo,
    "^": power,
    "atan2": math.atan2,
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_AMBIGUOUS = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
_NOT_UNIQUE = "multiple matches for labels: grouping labels must ensure unique matches"
_MANY_TO_MANY = "many-to-many matching not allowed: matching labels must be unique on one side"


def of_scalars(op: str, left: float, right: float) -> float:
    if op in COMPARISONS:
        return float(COMPARISONS[op](left, right))
    return ARITHMETIC[op](left, right)


def with_scalar(node: Binary, vector: Vector, scalar: float, *, is_swapped: bool) -> Vector:
    """Each element of *vector*, still by its name, with *scalar*, which stands on the left when swapped."""
    op = node.op
    if op in COMPARISONS:
        holds = COMPARISONS[op]
        if node.is_bool:
            return [Element(e[0], float(holds(scalar, e[1]) if is_swapped else holds(e[1], scalar))) for e in vector]
        if is_swapped:
            return [element for element in vector if holds(scalar, element[1])]
        return [element for element in vector if holds(element[1], scalar)]
    of = ARITHMETIC[op]
    return [Element(e[0], of(scalar, e[1]) if is_swapped else of(e[1], scalar)) for e in vector]


def of_sets(op: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """`and`, `or` and `unless`: whether an element stays depends on whether the other side has its like."""
    group_of = grouping(matching.labels, is_without=not matching.is_on)
    if op == "or":
        taken = {group_of[labels] for labels, _ in left}
        return unique(left + [element for element in right if group_of[element.labels] not in taken])
    others = {group_of[labels] for labels, _ in right}
    return [element for element in left if (group_of[element.labels] in others) == (op == "and")]


def of_vectors(node: Binary, left: Vector, right: Vector, matching: Matching, semantics: Semantics) -> Vector:
    """Matched pairs, one element each; raises EvaluationError where a match is ambiguous."""
    if not left or not right:
        return []  # before any ambiguity is looked for
    is_swapped = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (right, left) if is_swapped else (left, right)
    group_of = grouping(matching.labels, is_without=not matching.is_on)
    partners = _partners(one, group_of, matching, side="left" if is_swapped else "right")
    is_one_to_one = matching.cardinality is Cardinality.ONE_TO_ONE
    result_labels = _result_labels(matching, drops_name=drops_name(node, semantics))
    combine = _combination(node)
    seen: set[tuple[Labels, Labels | None]] = set()
    result = []
    for labels, value in many:
        group = group_of[labels]
        partner = partners.get(group)
        if partner is None:
            continue
        outcome = combine(partner[1], value) if is_swapped else combine(value, partner[1])
        if outcome is None and semantics == 2:
            continue  # before version 3 what is filtered out makes nothing ambiguous
        metric = result_labels(labels, partner[0])
        match = (group, None if is_one_to_one else metric)
        if match in seen:
            raise EvaluationError(_AMBIGUOUS if is_one_to_one else _NOT_UNIQUE)
        seen.add(match)
        if outcome is not None:
            result.append(Element(metric, outcome))
    return unique(result)


def _combination(node: Binary) -> Callable[[float, float], float | None]:
    """What a pair comes to; None: the filter does not let it through."""
    op = node.op
    if op in ARITHMETIC:
        return ARITHMETIC[op]
    holds = COMPARISONS[op]
    if node.is_bool:
        return lambda left, right: float(holds(left, right))
    return lambda left, right: left if holds(left, right) else None


def _partners(one: Vector, group_of: Memo, matching: Matching, *, side: str) -> dict[Labels, Element]:
    partners: dict[Labels, Element] = {}
    for element in one:
        group = group_of[element.labels]
        other = partners.setdefault(group, element)
        if other is not element:
            _refuse_duplicate(element, other, matching, side)
    return partners


def _refuse_duplicate(element: Element, other: Element, matching: Matching, side: str) -> NoReturn:
    group = grouping(matching.labels, is_without=not matching.is_on)[element.labels]
    raise EvaluationError(
        f"found duplicate series for the match group {show(group)} on the {side} hand-side of the operation: "
        f"[{show(element.labels)}, {show(other.labels)}];{_MANY_TO_MANY}"
    )


def _result_labels(matching: Matching, *, drops_name: bool) -> Callable[[Labels, Labels], Labels]:
    """Makes the labels of a match from those of the "many" and of the "one" side."""
    is_one_to_one = matching.cardinality is Cardinality.ONE_TO_ONE

    def labels_of(many: Labels, one: Labels) -> Labels:
        labels = dropped(many, (METRIC_NAME,)) if drops_name else many
        if is_one_to_one:
            labels = kept(labels, matching.labels) if matching.is_on else dropped(labels, matching.labels)
        if matching.include:
            labels = replaced(labels, [(name, get(one, name)) for name in matching.include])
        return labels

    return labels_of


def drops_name(node: Binary, semantics: Semantics) -> bool:
    """A filter keeps the metric's name; so does atan2 before version 3."""
    if node.op in COMPARISONS:
        return node.is_bool
    return node.op != "atan2" or semantics == 3
