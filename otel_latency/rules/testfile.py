"""promtool's files of unit tests for rules, read strictly; `testrun` runs them.

Durations are milliseconds; those of a test count from its `start_ms`. `fuzzy_compare` and `start_timestamp` came with
Prometheus 3, and so did a default for the interval of the samples: before, they all lay at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from otel_latency.errors import ConfigError, ExpressionError
from otel_latency.records import Labels
from otel_latency.rules.marked import Entries, Mark, Marked, parse
from otel_latency.rules.promql.strings import quote
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.sequence import Item, parse_sequence, parse_series
from otel_latency.rules.strict import Strict, is_null, mark_of

T = TypeVar("T")

_FILE_FIELDS: Final = ("rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare")
_TEST_FIELDS: Final = (
    "name",
    "interval",
    "input_series",
    "alert_rule_test",
    "promql_expr_test",
    "external_labels",
    "external_url",
    "start_timestamp",
)
_SINCE_3: Final = ("fuzzy_compare", "start_timestamp")
_BOOLEANS: Final = {"true": True, "false": False}
_INFINITE: Final = re.compile(r"([+-]?)\.(?:inf|Inf|INF)|(\.(?:nan|NaN|NAN))")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?")
_UNIX: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class InputSeries:
    labels: Labels
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    labels: Labels
    annotations: Labels


@dataclass(frozen=True, slots=True)
class AlertTest:
    """Which alerts of this name fire at the last evaluation that is not after `at_ms`."""

    at_ms: int
    name: str
    expected: Sequence[ExpectedAlert]


@dataclass(frozen=True, slots=True)
class ExpectedSample:
    """A sample by its labels, or, when these cannot be read, the `fault`, which only fails this expectation."""

    labels: Labels
    value: float
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ExpressionTest:
    expr: str
    at_ms: int
    expected: Sequence[ExpectedSample]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One history of series, and what the rules make of it."""

    name: str
    interval_ms: int
    series: Sequence[InputSeries]
    alert_tests: Sequence[AlertTest]
    expression_tests: Sequence[ExpressionTest]
    external_labels: dict[str, str] = field(default_factory=dict)
    external_url: str = ""
    start_ms: int = 0

    @property
    def end_ms(self) -> int:
        """The last moment that anything is asked about."""
        asked = [one.at_ms for one in self.alert_tests] + [one.at_ms for one in self.expression_tests]
        return self.start_ms + max(asked, default=0)


@dataclass(frozen=True, slots=True)
class RuleTestFile:
    """`rule_files` are patterns of paths, from the directory of the file."""

    rule_files: Sequence[str]
    evaluation_interval_ms: int
    group_order: Sequence[str]
    tests: Sequence[RuleTest]
    is_fuzzy: bool = False


def read(place: str, text: str, *, semantics: Semantics = 3) -> tuple[RuleTestFile | None, list[ConfigError]]:
    """The tests in *text*, or everything that is wrong with them."""
    try:
        tree = parse(text, place)
    except ConfigError as fault:
        return None, [fault]
    reader = _Reader(place, semantics)
    found = reader.file(tree)
    return (None if reader.strict.faults else found), reader.strict.faults


class _Reader:
    def __init__(self, place: str, semantics: Semantics) -> None:
        self.strict = Strict(place)
        self._semantics = semantics

    def file(self, tree: Marked | None) -> RuleTestFile | None:
        strict = self.strict
        if tree is None or is_null(tree):
            strict.refuse(Mark(1, 1), "the file is empty: begin with rule_files: and tests:")
            return None
        found = strict.entries(tree, "the file", _FILE_FIELDS)
        if found is None:
            return None
        self._refuse_newer_fields(found)
        interval_ms = strict.duration_ms(found, "evaluation_interval") or 60_000
        return RuleTestFile(
            rule_files=self._list(found, "rule_files"),
            evaluation_interval_ms=interval_ms,
            group_order=self._group_order(found),
            tests=_taken(self._test(node, interval_ms) for node in strict.items(found, "tests")),
            is_fuzzy=self._is_true(found, "fuzzy_compare"),
        )

    def _refuse_newer_fields(self, owner: Entries) -> None:
        for name in _SINCE_3:
            if name in owner.keys and self._semantics < 3:
                cure = "remove it, or run with --semantics 3"
                self.strict.refuse(owner.keys[name], f"{name} came with Prometheus 3: {cure}")

    def _list(self, owner: Entries, field: str) -> list[str]:
        return [self.strict.text(node, field) for node in self.strict.items(owner, field)]

    def _group_order(self, owner: Entries) -> list[str]:
        names = self._list(owner, "group_eval_order")
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.strict.refuse(mark_of(owner, "group_eval_order"), f"group name repeated in evaluation order: {name}")
        return names

    def _is_true(self, owner: Entries, field: str) -> bool:
        node = self.strict.scalar(owner, field)
        if node is None:
            return False
        if node.value.lower() not in _BOOLEANS:
            self.strict.refuse(node.mark, f"{field}: {node.value!r} is neither true nor false: write one of them")
        return _BOOLEANS.get(node.value.lower(), False)

    def _test(self, node: Marked, evaluation_ms: int) -> RuleTest | None:
        strict = self.strict
        found = strict.entries(node, "a test", _TEST_FIELDS)
        if found is None:
            return None
        self._refuse_newer_fields(found)
        name, url = strict.scalar(found, "name"), strict.scalar(found, "external_url")
        return RuleTest(
            name=name.value if name else "",
            interval_ms=strict.duration_ms(found, "interval") or (evaluation_ms if self._semantics >= 3 else 0),
            series=_taken(map(self._series, strict.items(found, "input_series"))),
            alert_tests=_taken(map(self._alert_test, strict.items(found, "alert_rule_test"))),
            expression_tests=_taken(map(self._expression_test, strict.items(found, "promql_expr_test"))),
            external_labels=strict.texts(found, "external_labels"),
            external_url=url.value if url else "",
            start_ms=self._start_ms(found),
        )

    def _start_ms(self, owner: Entries) -> int:
        node = self.strict.scalar(owner, "start_timestamp")
        if node is None:
            return 0
        try:
            return _time_ms(node.value)
        except ValueError:
            fact = f"start_timestamp: {node.value!r} is no time: write 2026-01-01T00:00:00Z or Unix seconds"
            self.strict.refuse(node.mark, fact)
            return 0

    def _series(self, node: Marked) -> InputSeries | None:
        found = self.strict.entries(node, "a series", ("series", "values"))
        if found is None:
            return None
        labels = self._parsed(found, "series", parse_series)
        items = self._parsed(found, "values", parse_sequence)
        return None if labels is None or items is None else InputSeries(labels, items)

    def _parsed(self, owner: Entries, field: str, read: Callable[[str], T]) -> T | None:
        node = self.strict.scalar(owner, field)
        if node is None:
            self.strict.refuse(mark_of(owner, field), f"{field} is missing: write it")
            return None
        return self.strict.parsed(node, read)

    def _alert_test(self, node: Marked) -> AlertTest | None:
        strict = self.strict
        found = strict.entries(node, "an alert test", ("eval_time", "alertname", "exp_alerts"))
        if found is None:
            return None
        name = strict.scalar(found, "alertname")
        if name is None or not name.value:
            strict.refuse(mark_of(found, "alertname"), "alertname is missing: name the alert that is expected")
            return None
        expected = [self._expected_alert(item, name.value) for item in strict.items(found, "exp_alerts")]
        return AlertTest(strict.duration_ms(found, "eval_time"), name.value, expected)

    def _expected_alert(self, node: Marked, name: str) -> ExpectedAlert:
        found = self.strict.entries(node, "an expected alert", ("exp_labels", "exp_annotations"))
        if found is None:
            return ExpectedAlert((), ())
        labels = {**self.strict.texts(found, "exp_labels"), "alertname": name}
        annotations = self.strict.texts(found, "exp_annotations")
        return ExpectedAlert(tuple(sorted(labels.items())), tuple(sorted(annotations.items())))

    def _expression_test(self, node: Marked) -> ExpressionTest | None:
        strict = self.strict
        found = strict.entries(node, "an expression test", ("expr", "eval_time", "exp_samples"))
        if found is None:
            return None
        expr = strict.scalar(found, "expr")
        expected = [self._expected_sample(item) for item in strict.items(found, "exp_samples")]
        return ExpressionTest(expr.value if expr else "", strict.duration_ms(found, "eval_time"), expected)

    def _expected_sample(self, node: Marked) -> ExpectedSample:
        found = self.strict.entries(node, "an expected sample", ("labels", "value", "histogram"))
        if found is None:
            return ExpectedSample((), 0.0)
        if "histogram" in found.keys:
            fact = "native histograms are not part of the rules' language: expect _bucket, _sum and _count samples"
            self.strict.refuse(found.keys["histogram"], fact)
        labels = self.strict.scalar(found, "labels")
        text, value = labels.value if labels else "", self._value(found)
        try:
            return ExpectedSample(parse_series(text), value)
        except ExpressionError as error:
            return ExpectedSample((), value, f"labels {quote(text)}: {located(error, text)}")

    def _value(self, owner: Entries) -> float:
        node = self.strict.scalar(owner, "value")
        if node is None:
            return 0.0
        value = None if node.source[:1] in {'"', "'"} else _yaml_number(node.value)
        if value is None:
            self.strict.refuse(node.mark, f"value: {node.value!r} is not a number of YAML: write 1.5, .inf or .nan")
        return value or 0.0


def located(error: ExpressionError, text: str) -> str:
    """What is wrong with *text*, in promtool's form."""
    line = text.count("\n", 0, error.at) + 1
    column = error.at - text.rfind("\n", 0, error.at)
    return f"{line}:{column}: parse error: {error.fact}"


def _taken(found: Iterable[T | None]) -> list[T]:
    return [one for one in found if one is not None]


def _yaml_number(text: str) -> float | None:
    if found := _INFINITE.fullmatch(text):
        return float("nan") if found[2] else float(f"{found[1]}inf")
    return float(text.replace("_", "")) if _NUMBER.fullmatch(text) else None


def _time_ms(text: str) -> int:
    if _UNIX.fullmatch(text):
        return round(float(text) * 1000)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no time zone")
    return round(moment.timestamp() * 1000)
