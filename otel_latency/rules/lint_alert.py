"""What is wrong with an alert as such: its threshold, its words, and whether it can fire where it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from otel_latency.rules.finding import Check, Report, error, warning
from otel_latency.rules.lint_expression import STATES, selectors, walk
from otel_latency.rules.promql.durations import format_duration
from otel_latency.rules.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    MatrixSelector,
    Node,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)
from otel_latency.rules.promql.signatures import COMPARISONS, value_type
from otel_latency.rules.result_labels import LabelSet, metric_name
from otel_latency.rules.rule import AlertingRule
from otel_latency.rules.written import WrittenRule

_ACTION: Final = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_LABEL: Final = re.compile(r"\$labels\.(\w+)")
_LABEL_OF_DOT: Final = re.compile(r"(?:\$labels|(?<![\w)$])\.Labels)\.(\w+)")
_VALUE: Final = re.compile(r"\$value\b|(?<![\w)$])\.Value\b")
_NEW_DOT: Final = re.compile(r"\{\{-?\s*(?:with|range|define|block)\b")


class AlertLint:
    """The checks of one alert; *labels* are what its result can have, *owned* begins the names of our own series."""

    def __init__(self, rule: AlertingRule, written: WrittenRule, labels: LabelSet, owned: tuple[str, ...]) -> None:
        self._rule = rule
        self._written = written
        self._labels = labels
        self._owned = owned

    def reports(self, interval_ms: int) -> Iterator[Report]:
        """What there is to say about an alert that is evaluated every *interval_ms*."""
        rule, written = self._rule, self._written
        yield from self._threshold(rule.node)
        yield from self._prometheus_only(rule.node)
        for field, templates in (("labels", rule.labels), ("annotations", rule.annotations)):
            for name, text in templates:
                yield from self._label_references(field, name, text)
        for name, text in rule.labels:
            yield from self._value_in_label(name, text)
        if "severity" not in dict(rule.labels):
            fact = "no label severity, by which notifiers choose: add severity: warning or critical"
            yield warning(Check.MISSING_SEVERITY, written.mark, fact)
        if "summary" not in dict(rule.annotations):
            fact = "no annotation summary, which messages begin with: add one"
            yield warning(Check.MISSING_SUMMARY, written.mark, fact)
        if 0 < rule.hold_ms < interval_ms:
            held, every = format_duration(rule.hold_ms), format_duration(interval_ms)
            fact = f"for: {held} is shorter than the interval of {every}, which is what it will be: write for: {every}"
            yield warning(Check.SHORT_FOR, written.value("for"), fact)

    def _threshold(self, node: Node) -> Iterator[Report]:
        if _can_be_empty(node):
            return
        compared = next((one for one in walk(node) if isinstance(one, Binary) and one.is_bool), None)
        if compared is not None:
            fact = f"{compared.op} bool gives 0 or 1, and both are alerts: leave bool out"
            yield error(Check.ALWAYS_FIRES, self._written.at(compared), fact)
        else:
            fact = "nothing is compared, so the alert fires as long as there is a series: add a threshold, as in > 0.5"
            yield error(Check.ALWAYS_FIRES, self._written.at(node), fact)

    def _label_references(self, field: str, name: str, text: str) -> Iterator[Report]:
        pattern = _LABEL if _NEW_DOT.search(text) else _LABEL_OF_DOT
        for found in _references(pattern, text):
            label = found[1]
            if not self._labels.has(label):
                fact = f"{name} shows label {label}, which the result of expr does not have"
                place = self._written.text(field, name, found.start())
                yield error(Check.UNKNOWN_LABEL, place, f"{fact}: keep it there, as in by ({label})")

    def _value_in_label(self, name: str, text: str) -> Iterator[Report]:
        for found in _references(_VALUE, text)[:1]:
            fact = f"the value in label {name} makes a new alert whenever it changes: put it into an annotation"
            yield error(Check.VALUE_IN_LABEL, self._written.text("labels", name, found.start()), fact)

    def _prometheus_only(self, node: Node) -> Iterator[Report]:
        for one in walk(node):
            if isinstance(one, Call) and one.function in {"absent", "absent_over_time"}:
                names = [metric_name(selector) for selector in selectors(one)]
                if any(name == "up" or name.startswith(self._owned) for name in names):
                    yield self._silent_here(one, f"{one.function}() of the agent's own series")
            elif isinstance(one, Binary) and one.op in COMPARISONS and "up" in map(metric_name, _compared(one)):
                yield self._silent_here(one, "a threshold on up")

    def _silent_here(self, node: Node, what: str) -> Report:
        fact = f"{what} can only fire in a real Prometheus: an agent that is gone evaluates nothing. Watch the Watchdog"
        return warning(Check.PROMETHEUS_ONLY, self._written.at(node), fact)


def _compared(node: Binary) -> Iterator[VectorSelector]:
    """The selectors whose values *node* compares; those of further operators have their own."""
    for side in (node.left, node.right):
        inner = side.expr if isinstance(side, Aggregation) else side
        if isinstance(inner, VectorSelector):
            yield inner


def _can_be_empty(node: Node) -> bool:
    """Whether there are values for which *node*, once its series are there, has no result."""
    match node:
        case Binary():
            return _is_condition(node)
        case Call(function="absent" | "absent_over_time"):
            return True
        case Call(function="vector" | "scalar"):
            return False
        case Call():
            return any(_can_be_empty(arg) for arg in node.args if value_type(arg) is not ValueType.SCALAR)
        case Aggregation() | Subquery() | Unary():
            return _can_be_empty(node.expr)
        case VectorSelector():
            return metric_name(node) in STATES
        case MatrixSelector():
            return _can_be_empty(node.selector)
        case _:
            return False


def _is_condition(node: Binary) -> bool:
    sides = _can_be_empty(node.left), _can_be_empty(node.right)
    if node.op in COMPARISONS:
        return not node.is_bool or any(sides)
    return node.op == "unless" or (all(sides) if node.op == "or" else any(sides))


def _references(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Where *pattern* stands inside the actions of a template."""
    return [
        found for action in _ACTION.finditer(text) for found in pattern.finditer(text, action.start(), action.end())
    ]
