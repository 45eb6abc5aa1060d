"""Rules as their file states them, and nothing about how they fare: frozen, and equal when they would do the same.

`expr` is the text, for people and links; `node` is what is evaluated. Labels and annotations are templates still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from otel_latency.records import Labels
from otel_latency.rules.promql.nodes import Node


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """Each element of `node`'s result is an alert; it fires once it has been there for `hold_ms`."""

    name: str
    expr: str
    node: Node
    labels: Labels = ()
    annotations: Labels = ()
    hold_ms: int = 0
    keep_firing_ms: int = 0
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """`node`'s result becomes series of this name; `labels` are set on all of them."""

    name: str
    expr: str
    node: Node
    labels: Labels = ()
    line: int = field(default=0, compare=False)


Rule: TypeAlias = AlertingRule | RecordingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated one after the other, at one time. Its name is unique in its file.

    `interval_ms` 0 stands for the interval of whoever evaluates it, `limit` 0 for none. The group's labels have already
    been joined to those of its rules.
    """

    name: str
    file: str
    rules: tuple[Rule, ...] = ()
    interval_ms: int = 0
    query_offset_ms: int = 0
    limit: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.file, self.name

    def alerting(self) -> Iterator[AlertingRule]:
        return (rule for rule in self.rules if isinstance(rule, AlertingRule))
