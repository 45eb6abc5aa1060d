"""Rules as they stand in their file: where each part of one is, and what comments beside it ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from otel_latency.rules.marked import Entries, Items, Mark, Scalar, parse
from otel_latency.rules.promql.nodes import Node

_IGNORE: Final = re.compile(r"\s*#\s*otel-latency:\s*ignore\s+(.*)")


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """Places in one rule; a part that stands elsewhere, such as a group's label, is where the rule begins."""

    fields: Entries

    @property
    def mark(self) -> Mark:
        return self.fields.mark

    @property
    def name(self) -> str:
        found = self.fields.values.get("alert") or self.fields.values.get("record")
        return found.value if isinstance(found, Scalar) else ""

    def at(self, node: Node) -> Mark:
        """Where *node* of the expression begins."""
        expr = self.fields.values["expr"]
        return expr.place(node.start) if isinstance(expr, Scalar) else self.mark

    def value(self, field: str) -> Mark:
        found = self.fields.values.get(field)
        return self.mark if found is None else found.mark

    def text(self, field: str, name: str, offset: int) -> Mark:
        """Where the character at *offset* of a label or annotation is."""
        owner = self.fields.values.get(field)
        found = owner.values.get(name) if isinstance(owner, Entries) else None
        return found.place(offset) if isinstance(found, Scalar) else self.mark


class WrittenRules:
    """Where rules stand in the file, by the line of each, and what comments there say."""

    def __init__(self, text: str) -> None:
        self._rules = {(rule.mark.line, rule.name): rule for rule in _rules(text)}
        self._lines = text.splitlines()

    def rule(self, line: int, name: str) -> WrittenRule:
        """The rule of this name that begins on *line*."""
        return self._rules[line, name]

    def ignored(self, line: int) -> set[str]:
        """The checks that a comment silences for the rule on *line*."""
        found = (_IGNORE.fullmatch(text) for text in self._lines[self._first(line) : self._end(line)])
        return {name.strip() for match in found if match for name in match[1].split(",")}

    def _first(self, line: int) -> int:
        """The comments just above a rule belong to it."""
        index = line - 1
        while index > 0 and self._lines[index - 1].lstrip().startswith("#"):
            index -= 1
        return index

    def _end(self, line: int) -> int:
        after = [one for one, _ in self._rules if one > line]
        return self._first(min(after)) if after else len(self._lines)


def _rules(text: str) -> Iterator[WrittenRule]:
    tree = parse(text, "")
    groups = tree.values.get("groups") if isinstance(tree, Entries) else None
    for group in groups.values if isinstance(groups, Items) else ():
        rules = group.values.get("rules") if isinstance(group, Entries) else None
        for rule in rules.values if isinstance(rules, Items) else ():
            if isinstance(rule, Entries):
                yield WrittenRule(rule)
