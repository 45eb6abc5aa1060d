"""Answers a single expression in the shape of Prometheus' `/api/v1/query`.

What rules look back on is kept; of anything else the agent knows only the present. So a selector finds the series that
are kept and, beside them, what /metrics shows at this moment: enough for every expression without a range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from otel_latency.records import Labels
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.nodes import Matcher, MatrixSelector
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.series import Series
from otel_latency.rules.template.numerals import positional

Json = dict[str, Any]
Select = Callable[[Sequence[Matcher]], Sequence[Series]]


def answer(expression: str, select: Select, at_ms: int, *, semantics: Semantics, interval_ms: int) -> Json:
    """`resultType` and `result`. Raises ExpressionError, and EvaluationError when there is no result now."""
    node = parse(expression)
    if isinstance(node, MatrixSelector):
        return {"resultType": "matrix", "result": list(_matrix(node, select, at_ms, semantics))}
    value = evaluate(node, select, at_ms, semantics=semantics, interval_ms=interval_ms)
    if isinstance(value, float):
        return {"resultType": "scalar", "result": _sample(at_ms, value)}
    if isinstance(value, str):
        return {"resultType": "string", "result": [at_ms / 1000, value]}
    result = [{"metric": dict(element.labels), "value": _sample(at_ms, element.value)} for element in value]
    return {"resultType": "vector", "result": result}


def beside(kept: Select, present: Select) -> Select:
    """The series of *kept*, and those of *present* that are not among them."""

    def select(matchers: Sequence[Matcher]) -> Sequence[Series]:
        found: dict[Labels, Series] = {series.labels: series for series in present(matchers)}
        found.update((series.labels, series) for series in kept(matchers))
        return list(found.values())

    return select


def _matrix(node: MatrixSelector, select: Select, at_ms: int, semantics: Semantics) -> Iterator[Json]:
    until_ms = at_ms - node.selector.offset_ms
    since_ms = until_ms - node.range_ms + (1 if semantics >= 3 else 0)  # open on the left from 3 on
    for series in select(node.selector.matchers):
        samples = zip(series.times, series.values, strict=True)
        values = [_sample(time_ms, value) for time_ms, value in samples if since_ms <= time_ms <= until_ms]
        if values:
            yield {"metric": dict(series.labels), "values": values}


def _sample(at_ms: int, value: float) -> list[object]:
    return [at_ms / 1000, positional(value)]
