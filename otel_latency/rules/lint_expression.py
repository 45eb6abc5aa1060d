"""What is wrong with an expression, whatever it is for: its series, its rates, its matchings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Final

from otel_latency.rules.contract import RECORDED, TARGET_LABELS, Surroundings
from otel_latency.rules.demand import children
from otel_latency.rules.finding import Check, Report, error, warning
from otel_latency.rules.marked import Mark
from otel_latency.rules.promql.durations import format_duration
from otel_latency.rules.promql.nodes import (
    METRIC_NAME,
    Aggregation,
    Binary,
    Call,
    Cardinality,
    MatchOp,
    MatrixSelector,
    Node,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import COMPARISONS, SET_OPERATORS
from otel_latency.rules.result_labels import LabelSet, metric_name, result_labels

STATES: Final = ("ALERTS", "ALERTS_FOR_STATE")
_RATES: Final = frozenset({"rate", "irate", "increase"})
_COUNTS_ON_COUNTERS: Final = _RATES | {"resets", "changes"}
_EXISTENCE: Final = frozenset({"absent", "absent_over_time", "present_over_time", "count_over_time", "timestamp"})
_COUNTER_NAME: Final = re.compile(r".*_(total|count|sum|bucket)")
_REGEX_SIGNS: Final = re.compile(r"[\\.+*?()\[\]{}^$|]")


def walk(node: Node) -> Iterator[Node]:
    yield node
    for inner in children(node):
        yield from walk(inner)


def selectors(node: Node) -> Iterator[VectorSelector]:
    return (one for one in walk(node) if isinstance(one, VectorSelector))


class ExpressionLint:
    """The checks of one expression; *at* tells where each part of it stands."""

    def __init__(self, around: Surroundings, at: Callable[[Node], Mark]) -> None:
        self._around = around
        self._series = around.series
        self._at = at

    def reports(self, node: Node, parents: tuple[Node, ...] = ()) -> Iterator[Report]:
        """What there is to say about *node*, which stands in *parents*, and about all below it."""
        match node:
            case VectorSelector():
                yield from self._selector(node, parents)
            case Call(function="histogram_quantile"):
                yield from self._quantile(node)
            case Call() if node.function in _RATES:
                yield from self._window(node)
            case Binary() if node.matching is not None:
                yield from self._matching(node)
        for inner in children(node):
            yield from self.reports(inner, (*parents, node))

    def _labels_of(self, node: Node) -> LabelSet:
        return result_labels(node, self._series)

    # Selectors

    def _selector(self, node: VectorSelector, parents: tuple[Node, ...]) -> Iterator[Report]:
        yield from self._name(node)
        yield from self._regexes(node)
        name = metric_name(node)
        rate = next((one for one in reversed(parents) if isinstance(one, Call)), None)
        if rate is not None and rate.function in _COUNTS_ON_COUNTERS - {"changes"}:
            yield from self._rate(rate, name)
        elif not _counts_existence(node, parents):
            yield from self._raw(node, name, parents)

    def _name(self, node: VectorSelector) -> Iterator[Report]:
        name = metric_name(node)
        found = self._series.get(name)
        if found is not None and found.type == "histogram":
            fact = f"{name} is a histogram, and no series has its name: take {name}_bucket, {name}_count or {name}_sum"
            yield error(Check.UNKNOWN_SERIES, self._at(node), fact)
        elif not found and name and name not in {"up", *STATES}:
            close = get_close_matches(name, self._series, 1, 0.85)
            cure = f"did you mean {close[0]}?" if close else "see /metrics for the names that there are"
            if name.startswith(self._around.owned):
                fact = f"the agent exposes no {name}, so this never has a result: {cure}"
                yield error(Check.UNKNOWN_SERIES, self._at(node), fact)
            elif close:
                yield warning(Check.UNKNOWN_SERIES, self._at(node), f"{name} is not known: {cure}")

    def _regexes(self, node: VectorSelector) -> Iterator[Report]:
        for one in node.matchers:
            if one.op in {MatchOp.REGEX, MatchOp.NOT_REGEX} and not _REGEX_SIGNS.search(one.value):
                plain = "=" if one.op is MatchOp.REGEX else "!="
                fact = f'{one.label}{one.op.value}"{one.value}" is no pattern: write {one.label}{plain}"{one.value}"'
                yield warning(Check.PLAIN_REGEX, self._at(node), fact)

    def _rate(self, rate: Call, name: str) -> Iterator[Report]:
        found = self._series.get(name)
        if found is not None and found.type == "gauge":
            fact = f"{rate.function}() of {name}, which is a gauge: take delta(), deriv() or avg_over_time()"
            yield error(Check.RATE_ON_GAUGE, self._at(rate), fact)
        elif found is None and name and not _COUNTER_NAME.fullmatch(name):
            fact = f"{rate.function}() of {name}, which is not named as a counter: take delta() if it is a gauge"
            yield warning(Check.RATE_ON_GAUGE, self._at(rate), fact)

    def _raw(self, node: VectorSelector, name: str, parents: tuple[Node, ...]) -> Iterator[Report]:
        found = self._series.get(name)
        is_bucket = name.endswith("_bucket")
        is_foreign = not name.startswith(self._around.owned)
        is_counter = found.type == "counter" if found else is_foreign and (is_bucket or name.endswith("_total"))
        if not is_counter or any(isinstance(one, MatrixSelector) for one in parents):
            return
        what = "a histogram's bucket" if is_bucket else "a counter"
        fact = f"{name} is {what}, which only grows: take rate({name}[5m]) or increase()"
        yield (error if is_bucket else warning)(Check.MISSING_RATE, self._at(node), fact)

    # Functions and operators

    def _window(self, node: Call) -> Iterator[Report]:
        window = node.args[0]
        if not isinstance(window, MatrixSelector):
            return
        sample_ms, width = self._around.sample_ms, format_duration(window.range_ms)
        every, cure = format_duration(sample_ms), f"take [{format_duration(4 * sample_ms)}] or more"
        if window.range_ms < 2 * sample_ms:
            fact = f"{node.function}() needs two samples, and there is one every {every}, so at most one in [{width}]"
            yield error(Check.SHORT_WINDOW, self._at(node), f"{fact}: {cure}")
        elif window.range_ms < 4 * sample_ms:
            fact = f"there is a sample every {every}, and [{width}] may hold too few of them"
            yield warning(Check.SHORT_WINDOW, self._at(node), f"{fact}: {cure}")

    def _quantile(self, node: Call) -> Iterator[Report]:
        buckets = node.args[1]
        if not self._labels_of(buckets).has("le"):
            fact = "histogram_quantile() finds no label le: keep it, as in sum by (le) (...)"
            yield error(Check.HISTOGRAM_QUANTILE, self._at(node), fact)
            return
        for selector in selectors(buckets):
            name = metric_name(selector)
            found = self._series.get(name)
            if name and found is not RECORDED and not name.endswith("_bucket"):
                fact = f"histogram_quantile() of {name}, which has no buckets: take {_stem(name)}_bucket"
                yield error(Check.HISTOGRAM_QUANTILE, self._at(selector), fact)

    def _matching(self, node: Binary) -> Iterator[Report]:
        assert node.matching is not None
        sides = self._labels_of(node.left), self._labels_of(node.right)
        if node.matching.is_on:
            for name in node.matching.labels:
                lacking = [side for side, labels in zip(("left", "right"), sides, strict=True) if not labels.has(name)]
                if len(lacking) == 1:
                    fact = f"the {lacking[0]} side of {node.op} has no label {name}, so nothing matches: keep it there"
                    yield error(Check.MATCHING, self._at(node), fact)
            return
        if node.op == "or" or any(side.is_open for side in sides):
            return
        left, right = (
            side.drop(frozenset(node.matching.labels) | TARGET_LABELS | {METRIC_NAME}).names for side in sides
        )
        if left != right:
            extra = ", ".join(sorted(left ^ right))
            fact = f"only one side of {node.op} has {extra}, so nothing matches: say on which labels, as in on (...)"
            if node.matching.cardinality is Cardinality.ONE_TO_ONE and node.op not in SET_OPERATORS:
                fact += " group_left ()"
            yield error(Check.MATCHING, self._at(node), fact)


def _counts_existence(node: Node, parents: tuple[Node, ...]) -> bool:
    """Whether only the presence of the series matters, not its value."""
    inner = node
    for parent in reversed(parents):
        match parent:
            case Call() if parent.function in _EXISTENCE:
                return True
            case Aggregation() if parent.op in {"count", "group"}:
                return True
            case Binary() if parent.op in {"and", "unless"} and parent.right is inner:
                return True
            case Binary() if parent.op == "-":
                return True  # a difference of two times is an increase
            case Binary() if parent.op in COMPARISONS:
                return False
        inner = parent
    return False


def _stem(name: str) -> str:
    return re.sub("_(count|sum|total)$", "", name)
