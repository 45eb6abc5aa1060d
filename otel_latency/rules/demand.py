"""What the loaded rules can ask: which series, and for how long they have to be kept. Nothing else is stored.

A budget bounds the memory. The rule that would break it is refused, with the sum in the message, and its neighbours go
on: a quantile over half a window would be a wrong quantile, and nobody would notice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from otel_latency.errors import ExpressionError
from otel_latency.records import Labels
from otel_latency.rules.promql.durations import format_duration
from otel_latency.rules.promql.matchers import compile_matcher
from otel_latency.rules.promql.nodes import (
    METRIC_NAME,
    Aggregation,
    Binary,
    Call,
    Matcher,
    MatchOp,
    MatrixSelector,
    Node,
    Subquery,
    Unary,
    VectorSelector,
)
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.strings import unquote
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.rule import AlertingRule, Rule
from otel_latency.rules.series import Series

SAMPLE_BYTES: Final = 18
"""A time and a value, and the slack of the columns."""
SERIES_BYTES: Final = 1024

_LITERAL: Final = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`')


@dataclass(frozen=True, slots=True)
class Demand:
    """A selector of some rule, and how many milliseconds behind an evaluation it looks."""

    matchers: tuple[Matcher, ...]
    reach_ms: int


def demands(node: Node, *, interval_ms: int) -> Iterator[Demand]:
    """What evaluating *node* asks for; *interval_ms* is the step of subqueries that name none."""
    return _demands(node, 0, interval_ms)


def asked(rule: Rule, *, interval_ms: int) -> Iterator[Demand]:
    """What evaluating *rule* asks for, with the queries in its templates."""
    yield from demands(rule.node, interval_ms=interval_ms)
    if isinstance(rule, AlertingRule):
        for _, text in (*rule.labels, *rule.annotations):
            for node in _queries(text):
                yield from demands(node, interval_ms=interval_ms)


def _queries(template: str) -> Iterator[Node]:
    """The literals of a template that may be queries: `{{ query "up" }}`, or the format of one that printf fills in.

    A place to be filled in is left open: any value of the label is asked for.
    """
    if "query" not in template:
        return
    for literal in _LITERAL.findall(template):
        try:
            yield _opened(parse(unquote(literal).replace("%q", '"%s"')))
        except ExpressionError:
            continue  # some other text


def _opened(node: Node) -> Node:
    match node:
        case VectorSelector():
            return _opened_selector(node)
        case MatrixSelector():
            return replace(node, selector=_opened_selector(node.selector))
        case Call():
            return replace(node, args=tuple(map(_opened, node.args)))
        case Binary():
            return replace(node, left=_opened(node.left), right=_opened(node.right))
        case Subquery() | Unary() | Aggregation():
            return replace(node, expr=_opened(node.expr))
        case _:
            return node


def _opened_selector(node: VectorSelector) -> VectorSelector:
    return replace(node, matchers=tuple(one for one in node.matchers if "%" not in one.value))


def _demands(node: Node, behind_ms: int, interval_ms: int) -> Iterator[Demand]:
    match node:
        case VectorSelector():
            yield Demand(node.matchers, behind_ms + max(node.offset_ms, 0))
        case MatrixSelector():
            yield from _demands(node.selector, behind_ms + node.range_ms, interval_ms)
        case Subquery():
            step_ms = node.step_ms or interval_ms
            yield from _demands(node.expr, behind_ms + node.range_ms + step_ms + max(node.offset_ms, 0), interval_ms)
        case _:
            for inner in children(node):
                yield from _demands(inner, behind_ms, interval_ms)


def steps(node: Node) -> int:
    """How often the dearest part of *node* is evaluated: subqueries within subqueries multiply.

    A subquery without a step counts as one step, for its step is the interval of whoever evaluates it.
    """
    inner = max(map(steps, children(node)), default=1)
    if isinstance(node, Subquery) and node.step_ms:
        return inner * (node.range_ms // node.step_ms + 1)
    return inner


def children(node: Node) -> Sequence[Node]:
    """The expressions that *node* is made of, in the order they are written."""
    match node:
        case MatrixSelector():
            return (node.selector,)
        case Subquery() | Unary():
            return (node.expr,)
        case Call():
            return node.args
        case Aggregation():
            return (node.expr,) if node.param is None else (node.param, node.expr)
        case Binary():
            return node.left, node.right
        case _:
            return ()


@dataclass(slots=True)
class _Known:
    """A demand with its conditions compiled, and how many series met them."""

    demand: Demand
    conditions: Sequence[tuple[str, Callable[[str], bool]]]
    series: int = 0

    def matches(self, labels: dict[str, str]) -> bool:
        return all(holds(labels.get(name, "")) for name, holds in self.conditions)


class Retention:
    """Answers, for the label set of a series, how long to keep it. Call it once per series that appears.

    *margin_ms* is added to every reach: the time between two samples, and that between a sample and an evaluation.
    """

    def __init__(
        self,
        wanted: Iterable[Demand],
        *,
        sample_ms: int,
        margin_ms: int,
        max_bytes: int,
        semantics: Semantics = 3,
    ) -> None:
        self._sample_ms = sample_ms
        self._margin_ms = margin_ms
        self._max_bytes = max_bytes
        self._planned = 0
        self._by_name: dict[str, list[_Known]] = {}
        self._any_name: list[_Known] = []
        self.refused: dict[Demand, str] = {}
        """Why rules that ask for this cannot be evaluated: its series would take too much memory."""
        # The nearest first, so that what looks far back is what is refused.
        for demand in sorted(set(wanted), key=lambda one: one.reach_ms):
            self._add(demand, semantics)

    def __call__(self, labels: Labels) -> int | None:
        """Milliseconds to keep the series; None when no rule asks for it, or when there is no room for it."""
        met = self._met(labels)
        for known in met:
            known.series += 1
        for known in reversed(met):
            if known.demand not in self.refused:
                keep_ms = known.demand.reach_ms + self._margin_ms
                size_bytes = self._size_bytes(keep_ms)
                if self._planned + size_bytes <= self._max_bytes:
                    self._planned += size_bytes
                    return keep_ms
                self._refuse(known)
        return None

    def asks_for(self, name: str) -> bool:
        """Whether any rule may ask for series of this name."""
        return bool(self._any_name) or name in self._by_name

    def recount(self, kept: Iterable[Series]) -> None:
        """Make room again for what is kept no longer: *kept* is all that there is."""
        self._planned = 0
        for known in self._all():
            known.series = 0
        for series in kept:
            self._planned += self._size_bytes(series.keep_ms)
            for known in self._met(series.labels):
                known.series += 1

    def _add(self, demand: Demand, semantics: Semantics) -> None:
        conditions = [(one.label, compile_matcher(one, semantics=semantics)) for one in demand.matchers]
        known = _Known(demand, conditions)
        names = [one.value for one in demand.matchers if one.label == METRIC_NAME and one.op is MatchOp.EQUAL]
        if names:
            self._by_name.setdefault(names[0], []).append(known)
        else:
            self._any_name.append(known)
        if self._size_bytes(demand.reach_ms + self._margin_ms) > self._max_bytes:
            known.series = 1
            self._refuse(known)

    def _met(self, labels: Labels) -> list[_Known]:
        """The demands for a series, the nearest first."""
        found = dict(labels)
        candidates = (*self._by_name.get(found.get(METRIC_NAME, ""), ()), *self._any_name)
        met = [known for known in candidates if known.matches(found)]
        return sorted(met, key=lambda known: known.demand.reach_ms)

    def _all(self) -> Iterator[_Known]:
        yield from chain.from_iterable(self._by_name.values())
        yield from self._any_name

    def _size_bytes(self, keep_ms: int) -> int:
        return SERIES_BYTES + keep_ms // self._sample_ms * SAMPLE_BYTES

    def _refuse(self, known: _Known) -> None:
        keep_ms = known.demand.reach_ms + self._margin_ms
        total = known.series * self._size_bytes(keep_ms)
        self.refused[known.demand] = (
            f"it looks back {format_duration(known.demand.reach_ms)} on {known.series:,} series:"
            f" {keep_ms // self._sample_ms:,} samples each make {total / 2**20:,.1f} MiB, and rules.max_bytes leaves"
            f" {self._max_bytes / 2**20:,.1f} MiB for all rules: shorten the window, select fewer series, or raise"
            " rules.max_bytes"
        )
