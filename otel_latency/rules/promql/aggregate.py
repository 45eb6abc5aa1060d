"""Aggregations: elements that agree on some labels become one, or the few that stand out among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from otel_latency.errors import EvaluationError
from otel_latency.records import Labels
from otel_latency.rules.promql.arithmetic import NAN, compensated_sum, incremental_mean, mean, plain_sum, quantile
from otel_latency.rules.promql.functions import require_label_name, sort, sort_desc
from otel_latency.rules.promql.labels import grouping, replaced, unique
from otel_latency.rules.promql.nodes import Aggregation
from otel_latency.rules.promql.ranges import highest, lowest
from otel_latency.rules.promql.values import Element, Semantics, Vector

Reduce = Callable[[list[float]], float]

_MAX_INT64 = float(2**63 - 1)


def aggregate(node: Aggregation, vector: Vector, param: float | str, semantics: Semantics) -> Vector:
    """The result of *node* over *vector*; *param* is ignored by those that take none."""
    op = node.op
    if op in ("topk", "bottomk"):
        count = _whole(float(param), semantics)
        return _extreme(sort_desc if op == "topk" else sort, count, vector, node) if count >= 1 else []
    if op == "count_values":
        return _count_values(str(param), vector, node, semantics)
    if op == "quantile":
        q = float(param)
        return _reduced(lambda values: quantile(q, values), vector, node)
    return _reduced(_REDUCTIONS[semantics][op], vector, node)


def _reduced(reduce: Reduce, vector: Vector, node: Aggregation) -> Vector:
    return [Element(labels, reduce(values)) for labels, values in _groups(vector, node).items()]


def _groups(vector: Vector, node: Aggregation) -> dict[Labels, list[float]]:
    group_of = grouping(node.labels, is_without=node.is_without)
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector:
        group = group_of[labels]
        if group in groups:
            groups[group].append(value)
        else:
            groups[group] = [value]
    return groups


def _extreme(order: Callable[[Vector], Vector], count: int, vector: Vector, node: Aggregation) -> Vector:
    """The first *count* of each group, with all their labels."""
    group_of = grouping(node.labels, is_without=node.is_without)
    groups: dict[Labels, Vector] = {}
    for element in vector:
        groups.setdefault(group_of[element.labels], []).append(element)
    return [element for members in groups.values() for element in order(members)[:count]]


def _count_values(label: str, vector: Vector, node: Aggregation, semantics: Semantics) -> Vector:
    """How often each value occurs; the value becomes a label."""
    require_label_name(label, "invalid label name", semantics)
    names = node.labels if node.is_without else (*node.labels, label)
    group_of = grouping(names, is_without=node.is_without)
    counts: dict[Labels, int] = {}
    for labels, value in vector:
        group = group_of[replaced(labels, [(label, _fixed(value))])]
        counts[group] = counts.get(group, 0) + 1
    return unique([Element(labels, float(count)) for labels, count in counts.items()])


def _fixed(value: float) -> str:
    """The shortest digits that mean *value*, without an exponent."""
    if not math.isfinite(value):
        return _shown(value)
    digits = format(Decimal(repr(value)), "f")
    return digits.removesuffix(".0")


def _shown(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return f"{value:+}".replace("inf", "Inf") if math.isinf(value) else f"{value:g}"


def _whole(count: float, semantics: Semantics) -> int:
    if math.isnan(count) and semantics == 3:
        raise EvaluationError("Parameter value is NaN")
    if not -_MAX_INT64 <= count <= _MAX_INT64:
        raise EvaluationError(f"Scalar value {_shown(count)} overflows int64")
    return int(count)


def _variance(values: Sequence[float], *, semantics: Semantics) -> float:
    """Welford's variance of a population; version 2 overlooks an infinite first value."""
    middle = values[0]
    squares = 0.0 if semantics == 2 or math.isfinite(middle) else NAN
    for count, value in enumerate(values[1:], 2):
        delta = value - middle
        middle += delta / count
        squares += delta * (value - middle)
    return squares / len(values)


def _reductions(semantics: Semantics, add: Callable[[Iterable[float]], float], average: Reduce) -> Mapping[str, Reduce]:
    return {
        "avg": average,
        "count": lambda values: float(len(values)),
        "group": lambda _: 1.0,
        "max": highest,
        "min": lowest,
        "stddev": lambda values: math.sqrt(_variance(values, semantics=semantics)),
        "stdvar": lambda values: _variance(values, semantics=semantics),
        "sum": add,
    }


_REDUCTIONS: Mapping[Semantics, Mapping[str, Reduce]] = {
    2: _reductions(2, plain_sum, lambda values: incremental_mean(values, is_compensated=False)),
    3: _reductions(3, compensated_sum, mean),
}
