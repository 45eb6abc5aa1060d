"""Runs tests of rules as promtool does, with its verdicts and very nearly its words.

Its ways are kept: groups are evaluated at `evaluation_interval` from the start, whatever interval they name; alerts are
those that fire at the last evaluation before `eval_time`; samples after the last evaluation do not exist; and a rule
that cannot be evaluated ends its test.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence

from otel_latency.errors import EvaluationError, ExpressionError
from otel_latency.records import Labels
from otel_latency.rules.engine import Engine, Options
from otel_latency.rules.evaluation import NO_VECTOR, vector
from otel_latency.rules.promql.durations import format_duration
from otel_latency.rules.promql.evaluate import evaluate
from otel_latency.rules.promql.labels import show
from otel_latency.rules.promql.nodes import ValueType
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.signatures import value_type
from otel_latency.rules.promql.strings import quote
from otel_latency.rules.promql.values import Element, Semantics
from otel_latency.rules.rule import AlertingRule, RuleGroup
from otel_latency.rules.sequence import Gap, Item
from otel_latency.rules.series import SeriesTable
from otel_latency.rules.state import State
from otel_latency.rules.template.numerals import scientific
from otel_latency.rules.testfile import (
    AlertTest,
    ExpectedAlert,
    ExpressionTest,
    InputSeries,
    RuleTest,
    RuleTestFile,
    located,
)


def run(file: RuleTestFile, groups: Sequence[RuleGroup], *, semantics: Semantics = 3) -> list[str]:
    """Everything that is not as the tests expect it, one text each; nothing when all is well."""
    order = {name: index for index, name in enumerate(file.group_order)}
    ordered = sorted(groups, key=lambda group: order.get(group.name, 0))
    return [fault for test in file.tests for fault in _Run(file, test, ordered, semantics).faults()]


class _Run:
    """One test: a table and an engine of its own."""

    def __init__(self, file: RuleTestFile, test: RuleTest, groups: Sequence[RuleGroup], semantics: Semantics) -> None:
        self._test = test
        self._groups = groups
        self._step_ms = file.evaluation_interval_ms
        self._is_fuzzy = file.is_fuzzy
        self._semantics = semantics
        self._table = SeriesTable(lambda _: sys.maxsize, semantics=semantics)
        self._engine = Engine(
            self._table,
            Options(
                interval_ms=self._step_ms,
                semantics=semantics,
                external_labels=test.external_labels,
                external_url=test.external_url,
            ),
        )
        self._engine.reload(groups, test.start_ms)

    def faults(self) -> list[str]:
        test = self._test
        found: list[str] = []
        left = sorted(test.alert_tests, key=lambda one: one.at_ms)
        samples = _Feed(test)
        for at_ms in range(test.start_ms, test.end_ms + 1, self._step_ms):
            samples.until(at_ms, self._table)
            broken = self._evaluate(at_ms)
            if broken:
                return found + broken
            while left and test.start_ms + left[0].at_ms < at_ms + self._step_ms:
                found += self._check_alerts(left.pop(0))
        for one in test.expression_tests:
            found += self._check_expression(one)
        return found

    def _evaluate(self, at_ms: int) -> list[str]:
        for group in self._groups:
            self._engine.evaluate(group, at_ms)
        since_start = format_go(at_ms - self._test.start_ms)
        return [
            f"    rule: {rule.rule.name}, time: {since_start}, err: {rule.last_error}"
            for group in self._engine.groups
            for rule in group.rules
            if rule.last_error
        ]

    def _check_alerts(self, test: AlertTest) -> Iterator[str]:
        got = sorted(
            (
                ExpectedAlert(alert.labels, alert.annotations)
                for group in self._engine.groups
                for rule in group.rules
                if isinstance(rule.rule, AlertingRule) and rule.rule.name == test.name
                for alert in rule.active
                if alert.state is State.FIRING
            ),
            key=_by_labels,
        )
        expected = sorted(test.expected, key=_by_labels)
        if got != expected:
            name = f"    name: {self._test.name},\n" if self._test.name else ""
            yield (
                f"{name}    alertname: {test.name}, time: {format_duration(test.at_ms)}, \n"
                f"        exp:{_shown_alerts(expected)}, \n        got:{_shown_alerts(got)}"
            )

    def _check_expression(self, test: ExpressionTest) -> Iterator[str]:
        head = f"    expr: {quote(test.expr)}, time: {format_duration(test.at_ms)},"
        try:
            got = self._query(test)
        except ExpressionError as error:
            yield f"{head} err: {located(error, test.expr)}"
            return
        except EvaluationError as error:
            yield f"{head} err: {error}"
            return
        for one in test.expected:
            if one.fault:
                yield f"{head} err: {one.fault}"
                return
        expected = sorted((Element(one.labels, one.value) for one in test.expected), key=_labels)
        if not self._is_same(expected, got):
            yield f"{head}\n        exp: {_shown_samples(expected)}\n        got: {_shown_samples(got)}"

    def _query(self, test: ExpressionTest) -> list[Element]:
        node = parse(test.expr)
        if value_type(node) is ValueType.RANGE_VECTOR:
            raise EvaluationError(NO_VECTOR)
        value = evaluate(
            node,
            self._table.select,
            self._test.start_ms + test.at_ms,
            semantics=self._semantics,
            interval_ms=self._step_ms,
        )
        return sorted(vector(value), key=_labels)

    def _is_same(self, expected: Sequence[Element], got: Sequence[Element]) -> bool:
        if len(expected) != len(got):
            return False
        return all(
            one.labels == other.labels and self._is_same_value(one.value, other.value)
            for one, other in zip(expected, got, strict=True)
        )

    def _is_same_value(self, expected: float, got: float) -> bool:
        """NaN is never what was expected, as in promtool."""
        is_near = self._is_fuzzy and expected in {math.nextafter(got, -math.inf), math.nextafter(got, math.inf)}
        return expected == got or is_near


class _Feed:
    """Gives a table the samples of a test in the order of their times."""

    def __init__(self, test: RuleTest) -> None:
        # Of two series with the same labels the last one counts.
        series = {one.labels: one for one in test.series}
        self._series = [(one, iter(_timed(one, test))) for one in series.values()]
        self._next = [next(items, None) for _, items in self._series]

    def until(self, at_ms: int, table: SeriesTable) -> None:
        for index, (series, items) in enumerate(self._series):
            pending = self._next[index]
            while pending is not None and pending[0] <= at_ms:
                _append(table, series.labels, *pending)
                pending = next(items, None)
            self._next[index] = pending


def _timed(series: InputSeries, test: RuleTest) -> Iterable[tuple[int, Item]]:
    return ((test.start_ms + index * test.interval_ms, item) for index, item in enumerate(series.items))


def _append(table: SeriesTable, labels: Labels, at_ms: int, item: Item) -> None:
    if item is Gap.STALE:
        table.end(labels, at_ms)
    elif isinstance(item, float):
        table.append(labels, at_ms, item)


def format_go(milliseconds: int) -> str:
    """As Go prints a duration: `1m30s`, `1h0m0s`, `250ms`, `1.5s`, `0s`."""
    if milliseconds and milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:g}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _by_labels(alert: ExpectedAlert) -> tuple[Labels, Labels]:
    return alert.labels, alert.annotations


def _labels(element: Element) -> Labels:
    return element.labels


def _shown_samples(elements: Sequence[Element]) -> str:
    if not elements:
        return "nil"
    return ", ".join(f"{show(element.labels)} {scientific(element.value).replace('e', 'E')}" for element in elements)


def _shown_alerts(alerts: Sequence[ExpectedAlert]) -> str:
    if not alerts:
        return "[]"
    indent = "\n" + " " * 12
    shown = ",".join(
        f"{indent}{index}:{indent}  Labels:{show(alert.labels)}{indent}  Annotations:{show(alert.annotations)}"
        for index, alert in enumerate(alerts)
    )
    return f"[{shown}{indent}]"
