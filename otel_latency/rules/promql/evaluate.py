"""Evaluate a tree over series at one moment, with the arithmetic of Prometheus 2 or 3.

Pure: the same tree, series and moment give the same value. Nothing is kept between evaluations but how label sets
are reduced (see `labels`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import pi
from typing import Final

from otel_latency.errors import EvaluationError
from otel_latency.records import Labels
from otel_latency.rules.promql import binary
from otel_latency.rules.promql.aggregate import aggregate
from otel_latency.rules.promql.functions import (
    OF_VALUE,
    absent_labels,
    label_join,
    label_replace,
    scalar,
    sort,
    sort_desc,
)
from otel_latency.rules.promql.histogram import histogram_quantile
from otel_latency.rules.promql.labels import WITH_DROPPED_NAME, WITHOUT_NAME, Memo, settled, unique
from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
    Matcher,
    MatrixSelector,
    Node,
    Number,
    String,
    Subquery,
    Unary,
    VectorSelector,
)
from otel_latency.rules.promql.ranges import RANGE_FUNCTIONS, Span
from otel_latency.rules.promql.signatures import FUNCTIONS
from otel_latency.rules.promql.values import Element, Semantics, Value, Vector
from otel_latency.rules.series import Series

Select = Callable[[Sequence[Matcher]], Sequence[Series]]
MAX_STEPS: Final = 50_000
"""A day in steps of two seconds; what takes more would hold up every other rule."""

Known = dict[Node, Value]
"""Parts of expressions and what they yielded, all at one moment."""
Args = tuple[Node, ...]
_RANGES = (MatrixSelector, Subquery)


def evaluate(
    node: Node,
    select: Select,
    at_ms: int,
    *,
    semantics: Semantics = 3,
    interval_ms: int = 60_000,
    lookback_ms: int = 300_000,
    delays_name_removal: bool = False,
    known: Known | None = None,
) -> Value:
    """The value of *node* at *at_ms*; *interval_ms* is the step of subqueries that name none.

    With *delays_name_removal* metric names go at the end, as with Prometheus' feature flag of that name, and not as
    soon as a function drops them. *known* holds what parts of expressions yielded at this moment, and is added to; give
    the same to all expressions as long as no series changes. Raises EvaluationError when the series do not fit the
    expression, and for a range, which is no value.
    """
    nameless = WITH_DROPPED_NAME if delays_name_removal else WITHOUT_NAME
    value = _Evaluation(select, semantics, interval_ms, lookback_ms, nameless, at_ms, known).value(node, at_ms)
    return settled(value) if delays_name_removal and isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What stays the same throughout the tree; the moment changes in subqueries."""

    select: Select
    semantics: Semantics
    interval_ms: int
    lookback_ms: int
    nameless: Memo
    at_ms: int
    known: Known | None
    steps: list[int] = field(default_factory=lambda: [0])
    """How many steps subqueries have taken so far, those of the ones inside others included."""

    def value(self, node: Node, at_ms: int) -> Value:
        # Two thresholds for one quantile are usual; the steps of a subquery are too many to keep.
        known = self.known
        if known is None or at_ms != self.at_ms or not isinstance(node, Call | Aggregation):
            return self._value(node, at_ms)
        if node not in known:
            known[node] = self._value(node, at_ms)
        return known[node]

    def _value(self, node: Node, at_ms: int) -> Value:
        match node:
            case Binary():
                return self._binary(node, at_ms)
            case VectorSelector():
                return self._instant(node, at_ms)
            case Call():
                return self._call(node, at_ms)
            case Aggregation():
                param = 0.0 if node.param is None else self.value(node.param, at_ms)
                assert not isinstance(param, list)  # the parser allows scalars and strings here
                return aggregate(node, self.vector(node.expr, at_ms), param, self.semantics)
            case Number() | String():
                return node.value
            case Unary():
                return self._negated(node, at_ms)
            case MatrixSelector() | Subquery():
                raise EvaluationError("a range vector is no result: apply a function such as rate() to it")

    def vector(self, node: Node, at_ms: int) -> Vector:
        value = self.value(node, at_ms)
        assert isinstance(value, list)  # the parser checks types
        return value

    def scalar(self, node: Node, at_ms: int) -> float:
        value = self.value(node, at_ms)
        assert isinstance(value, float)
        return value

    def text(self, node: Node, at_ms: int) -> str:
        value = self.value(node, at_ms)
        assert isinstance(value, str)
        return value

    def _binary(self, node: Binary, at_ms: int) -> Value:
        left, right = self.value(node.left, at_ms), self.value(node.right, at_ms)
        match left, right:
            case float(), float():
                return binary.of_scalars(node.op, left, right)
            case list(), float():
                return self._with_scalar(node, left, right, is_swapped=False)
            case float(), list():
                return self._with_scalar(node, right, left, is_swapped=True)
            case list(), list() if node.matching is not None:
                if node.matching.cardinality is Cardinality.MANY_TO_MANY:
                    return binary.of_sets(node.op, left, right, node.matching)
                return binary.of_vectors(node, left, right, node.matching, self.semantics)
        raise EvaluationError(f"operator {node.op} does not take strings")

    def _with_scalar(self, node: Binary, vector: Vector, number: float, *, is_swapped: bool) -> Vector:
        result = binary.with_scalar(node, vector, number, is_swapped=is_swapped)
        return self._unnamed(result) if binary.drops_name(node, self.semantics) else result

    def _unnamed(self, vector: Iterable[tuple[Labels, float]]) -> Vector:
        """The elements without their metrics' names; EvaluationError when that makes two of them the same."""
        nameless = self.nameless
        return unique([Element(nameless[labels], value) for labels, value in vector])

    def _negated(self, node: Unary, at_ms: int) -> Value:
        value = self.value(node.expr, at_ms)
        if isinstance(value, list):
            return self._unnamed((labels, -number) for labels, number in value)
        assert isinstance(value, float)
        return -value

    def _instant(self, node: VectorSelector, at_ms: int) -> Vector:
        return [Element(series.labels, series.values[place]) for series, place in self._current(node, at_ms)]

    def _current(self, node: VectorSelector, at_ms: int) -> Iterator[tuple[Series, int]]:
        """Each series that has a current sample, and the place of it."""
        end_ms = at_ms - node.offset_ms
        after_ms = end_ms - self.lookback_ms - (self.semantics == 2)  # before version 3 the window's start is inside
        for series in self.select(node.matchers):
            times = series.times
            if times and after_ms < times[-1] <= end_ms and not series.ends:  # as nearly all are
                yield series, -1
            elif (place := series.newest(end_ms, after_ms)) >= 0:
                yield series, place

    def _call(self, node: Call, at_ms: int) -> Value:
        name = node.function
        if name in OF_VALUE:
            return self._of_value(node, at_ms)
        if name in RANGE_FUNCTIONS:
            return self._of_range(node, at_ms)
        return _CALLS[name](self, node.args, at_ms)

    def _of_value(self, node: Call, at_ms: int) -> Vector:
        function = OF_VALUE[node.function]
        if not node.args:
            return [Element((), function(at_ms / 1000))]  # dates are of the moment, unless told otherwise
        vector = self.vector(node.args[0], at_ms)
        scalars = [self.scalar(arg, at_ms) for arg in node.args[1:]]
        if node.function == "clamp" and scalars[1] < scalars[0]:
            return []
        return self._unnamed((labels, function(value, *scalars)) for labels, value in vector)

    def histogram_quantile(self, args: Args, at_ms: int) -> Vector:
        q, vector = self.scalar(args[0], at_ms), self.vector(args[1], at_ms)
        return self._unnamed(histogram_quantile(q, vector, self.semantics))

    def relabelled(self, relabel: Callable[..., Vector], args: Args, at_ms: int) -> Vector:
        texts = [self.text(arg, at_ms) for arg in args[1:]]
        return relabel(self.vector(args[0], at_ms), *texts, semantics=self.semantics)

    def timestamp(self, args: Args, at_ms: int) -> Vector:
        """When the samples of a selector were taken; anything else is of this moment."""
        node = args[0]
        if isinstance(node, VectorSelector):
            return self._unnamed((s.labels, s.times[place] / 1000) for s, place in self._current(node, at_ms))
        return self._unnamed((labels, at_ms / 1000) for labels, _ in self.vector(node, at_ms))

    def absent(self, args: Args, at_ms: int) -> Vector:
        node = args[0]
        if isinstance(node, _RANGES):
            _, series = self._range(node, at_ms)
            is_there = next(iter(series), None) is not None
        else:
            is_there = bool(self.vector(node, at_ms))
        if is_there:
            return []
        selector = node.selector if isinstance(node, MatrixSelector) else node
        matchers = selector.matchers if isinstance(selector, VectorSelector) else ()
        return [Element(absent_labels(matchers), 1.0)]

    def _of_range(self, node: Call, at_ms: int) -> Vector:
        range_ = next(arg for arg in node.args if isinstance(arg, _RANGES))
        param = next((self.scalar(arg, at_ms) for arg in node.args if arg is not range_), 0.0)
        span, parts = self._range(range_, at_ms)
        window = RANGE_FUNCTIONS[node.function](span, param)
        pairs = [
            (series.labels, value)
            for series, first, stop in parts
            if (value := window(series, first, stop)) is not None
        ]
        if FUNCTIONS[node.function].drops_name:
            return self._unnamed(pairs)
        return [Element(labels, value) for labels, value in pairs]

    def _range(self, node: MatrixSelector | Subquery, at_ms: int) -> tuple[Span, Iterator[tuple[Series, int, int]]]:
        """The window of *node*, and each series with samples in it: the first place, and the one after the last."""
        match node:
            case MatrixSelector():
                end_ms = at_ms - node.selector.offset_ms
                series = self.select(node.selector.matchers)
            case Subquery():
                end_ms = at_ms - node.offset_ms
                series = self._stepped(node, end_ms)
        span = Span(end_ms - node.range_ms, end_ms, at_ms, self.semantics)
        return span, _parts(series, span)

    def _stepped(self, node: Subquery, end_ms: int) -> Sequence[Series]:
        """The series that the expression of *node* gives at each step; steps are multiples of their length."""
        step_ms = node.step_ms or self.interval_ms
        start_ms = end_ms - node.range_ms
        first_step = start_ms // step_ms + 1 if self.semantics == 3 else -(-start_ms // step_ms)
        self._take_steps(end_ms // step_ms + 1 - first_step)
        found: dict[Labels, Series] = {}
        for step in range(first_step, end_ms // step_ms + 1):
            for labels, value in self.vector(node.expr, step * step_ms):
                series = found.get(labels)
                if series is None:
                    series = found[labels] = Series(labels)
                series.append(step * step_ms, value)
        return list(found.values())

    def _take_steps(self, count: int) -> None:
        self.steps[0] += max(count, 0)
        if self.steps[0] > MAX_STEPS:
            raise EvaluationError(
                f"the subqueries take more than {MAX_STEPS:,} steps: shorten their ranges or lengthen their steps"
            )


def _parts(all_series: Sequence[Series], span: Span) -> Iterator[tuple[Series, int, int]]:
    start_ms, end_ms = span.start_ms, span.end_ms
    bisect_start = bisect_left if span.semantics == 2 else bisect_right
    for series in all_series:
        times = series.times
        if not times or times[-1] < start_ms:
            continue
        first = bisect_start(times, start_ms)
        stop = len(times) if times[-1] <= end_ms else bisect_right(times, end_ms)
        if first < stop:
            yield series, first, stop


_CALLS: Mapping[str, Callable[[_Evaluation, Args, int], Value]] = {
    "absent": _Evaluation.absent,
    "absent_over_time": _Evaluation.absent,
    "histogram_quantile": _Evaluation.histogram_quantile,
    "label_join": lambda of, args, at_ms: of.relabelled(label_join, args, at_ms),
    "label_replace": lambda of, args, at_ms: of.relabelled(label_replace, args, at_ms),
    "pi": lambda _, __, ___: pi,
    "scalar": lambda of, args, at_ms: scalar(of.vector(args[0], at_ms)),
    "sort": lambda of, args, at_ms: sort(of.vector(args[0], at_ms)),
    "sort_desc": lambda of, args, at_ms: sort_desc(of.vector(args[0], at_ms)),
    "time": lambda _, __, at_ms: at_ms / 1000,
    "timestamp": _Evaluation.timestamp,
    "vector": lambda of, args, at_ms: [Element((), of.scalar(args[0], at_ms))],
}
