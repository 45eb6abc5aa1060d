"""Prometheus rule files: read strictly, with everything that is wrong in them, each fault with line and column.

What Prometheus refuses is refused, and so is what could never work: an expression outside the subset, or one that
yields no vector. `query_offset` and a group's `labels` came with Prometheus 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from otel_latency.errors import ConfigError
from otel_latency.records import Labels
from otel_latency.rules.demand import steps
from otel_latency.rules.marked import Entries, Mark, Marked, Scalar, parse
from otel_latency.rules.promql.evaluate import MAX_STEPS
from otel_latency.rules.promql.nodes import METRIC_NAME, Node, ValueType
from otel_latency.rules.promql.parse import parse as parse_expression
from otel_latency.rules.promql.signatures import value_type
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.rule import AlertingRule, RecordingRule, Rule, RuleGroup
from otel_latency.rules.strict import Strict, is_null, mark_of, text_of
from otel_latency.rules.template import parse as parse_template

_GROUP_FIELDS: Final = ("name", "interval", "limit", "rules", "query_offset", "labels")
_SINCE_3: Final = ("query_offset", "labels")
_RULE_FIELDS: Final = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_ALERT_ONLY: Final = ("for", "keep_firing_for", "annotations")

_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_COUNT: Final = re.compile(r"[0-9]{1,9}")


def load(place: str, text: str, *, semantics: Semantics = 3) -> list[RuleGroup]:
    """The groups in *text*, a file that messages call *place*. Raises ConfigError for the first fault."""
    groups, faults = read(place, text, semantics=semantics)
    if faults:
        raise faults[0]
    return groups


def read(place: str, text: str, *, semantics: Semantics = 3) -> tuple[list[RuleGroup], list[ConfigError]]:
    """The rules that are right, and everything that is wrong; beyond a fault in the YAML nothing can be said."""
    try:
        tree = parse(text, place)
    except ConfigError as fault:
        return [], [fault]
    reader = _Reader(place, semantics)
    groups = list(reader.groups(tree))
    return groups, reader.strict.faults


class _Reader:
    """Goes through a file once, from its groups to their rules."""

    def __init__(self, place: str, semantics: Semantics) -> None:
        self.strict = Strict(place)
        self._place = place
        self._semantics = semantics

    def groups(self, tree: Marked | None) -> Iterator[RuleGroup]:
        if tree is None or is_null(tree):
            self.strict.refuse(Mark(1, 1), "the file is empty: begin with groups:")
            return
        top = self.strict.entries(tree, "the file", ("groups",))
        if top is None:
            return
        if "groups" not in top.values:
            self.strict.refuse(top.mark, "the file holds no groups: begin with groups:")
        lines: dict[str, int] = {}
        for node in self.strict.items(top, "groups"):
            name = text_of(node, "name")
            self.strict.where = f'group "{name}"' if name else ""
            group = self._group(node, name, lines)
            if group is not None:
                yield group
            self.strict.where = ""

    def _group(self, node: Marked, name: str, lines: dict[str, int]) -> RuleGroup | None:
        strict = self.strict
        found = strict.entries(node, "a group", _GROUP_FIELDS)
        if found is None:
            return None
        self._check_group_name(found, name, lines)
        self._refuse_newer_fields(found)
        interval_ms, query_offset_ms = strict.duration_ms(found, "interval"), strict.duration_ms(found, "query_offset")
        limit, labels = self._limit(found), self._labels(found, "labels", is_template=False)
        rules = tuple(self._rules(found, labels))
        return RuleGroup(name, self._place, rules, interval_ms, query_offset_ms, limit)

    def _check_group_name(self, group: Entries, name: str, lines: dict[str, int]) -> None:
        mark = mark_of(group, "name")
        if not name:
            self.strict.refuse(mark, "the group has no name: give it one that is unique in the file")
        elif name in lines:
            self.strict.refuse(mark, f"a group on line {lines[name]} has this name already: rename one")
        lines.setdefault(name, mark.line)

    def _refuse_newer_fields(self, group: Entries) -> None:
        for field in _SINCE_3:
            if field in group.keys and self._semantics < 3:
                cure = "remove it, or set semantics: 3"
                self.strict.refuse(group.keys[field], f"{field} came with Prometheus 3: {cure}")

    def _limit(self, group: Entries) -> int:
        node = self.strict.scalar(group, "limit")
        if node is None:
            return 0
        if not _COUNT.fullmatch(node.value):
            self.strict.refuse(node.mark, f"limit: {node.value!r} is not a number of alerts: write 10, or 0 for none")
            return 0
        return int(node.value)

    def _rules(self, group: Entries, group_labels: Labels) -> Iterator[Rule]:
        strict, owner = self.strict, self.strict.where or "group"
        for number, node in enumerate(strict.items(group, "rules"), 1):
            name = text_of(node, "alert") or text_of(node, "record")
            strict.where = f'{owner}, rule "{name}"' if name else f"{owner}, rule {number}"
            before = len(strict.faults)
            rule = self._rule(node, group_labels)
            if rule is not None and len(strict.faults) == before:
                yield rule

    def _rule(self, node: Marked, group_labels: Labels) -> Rule | None:
        strict = self.strict
        found = strict.entries(node, "a rule", _RULE_FIELDS)
        if found is None:
            return None
        alert, record = text_of(found, "alert"), text_of(found, "record")
        self._check_kind(found, alert, record)
        expression = self._expression(found)
        hold_ms, keep_firing_ms = strict.duration_ms(found, "for"), strict.duration_ms(found, "keep_firing_for")
        labels = _joined(group_labels, self._labels(found, "labels", is_template=bool(alert)))
        annotations = self._labels(found, "annotations", is_template=bool(alert))
        if expression is None:
            return None
        text, line = text_of(found, "expr").strip(), found.mark.line
        if record:
            return RecordingRule(record, text, expression, labels, line)
        return AlertingRule(alert, text, expression, labels, annotations, hold_ms, keep_firing_ms, line)

    def _check_kind(self, rule: Entries, alert: str, record: str) -> None:
        refuse = self.strict.refuse
        if alert and record:
            refuse(rule.keys["record"], "the rule has both alert and record: make it two rules")
        elif record:
            if not _METRIC.fullmatch(record):
                cure = "write letters, digits, _ and :, no digit first"
                refuse(rule.values["record"].mark, f"{record!r} is not the name of a metric: {cure}")
            for field in _ALERT_ONLY:
                if field in rule.keys:
                    refuse(rule.keys[field], f"{field} means nothing in a recording rule: remove it")
        elif not alert:
            refuse(rule.mark, "the rule has neither alert nor record: give it one of them")

    def _expression(self, rule: Entries) -> Node | None:
        strict = self.strict
        given = rule.values.get("expr")
        node = strict.scalar(rule, "expr")
        if node is None and given is not None and not is_null(given):
            return None
        if node is None or not node.value.strip():
            strict.refuse(mark_of(rule, "expr"), "the rule has no expr: say what it evaluates")
            return None
        parsed = strict.parsed(node, parse_expression)
        if parsed is None:
            return None
        kind = value_type(parsed)
        if kind in {ValueType.RANGE_VECTOR, ValueType.STRING}:
            strict.refuse(node.place(0), f"expr yields a {kind.value}: a rule needs an instant vector or a scalar")
            return None
        if (count := steps(parsed)) > MAX_STEPS:
            cure = f"shorten their ranges or lengthen their steps, to {MAX_STEPS:,} at most"
            strict.refuse(node.place(0), f"the subqueries take {count:,} steps at each evaluation: {cure}")
            return None
        return parsed

    def _labels(self, owner: Entries, field: str, *, is_template: bool) -> Labels:
        node = self.strict.mapping(owner, field)
        if node is None:
            return ()
        for name, mark in node.keys.items():
            if field == "labels" and name == METRIC_NAME:
                self.strict.refuse(mark, f"{name} is the metric's name, which record sets: remove it")
            elif not _LABEL.fullmatch(name):
                self.strict.refuse(mark, f"{name!r} is not the name of a label: write letters, digits and _")
        if is_template:
            self._check_templates(node.values)
        return tuple(sorted((name, self.strict.text(value, name)) for name, value in node.values.items()))

    def _check_templates(self, values: Mapping[str, Marked]) -> None:
        for value in values.values():
            if isinstance(value, Scalar):
                self.strict.parsed(value, partial(parse_template, semantics=self._semantics))


def _joined(under: Labels, over: Labels) -> Labels:
    return tuple(sorted({**dict(under), **dict(over)}.items()))
