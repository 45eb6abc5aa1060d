"""The thresholds of the shipped alerts, read out of their expressions: what a panel colours is what an alert says."""

from __future__ import annotations

from functools import cache
from operator import add, mul, sub, truediv
from pathlib import Path
from typing import Final

from otel_latency.rules import rulefile
from otel_latency.rules.promql.nodes import Binary, Node, Number
from otel_latency.rules.rule import AlertingRule

ALERTS: Final = Path(__file__).parents[2] / "alerts"
OF_OBJECTIVES: Final = ("SLOBudgetBurnsFast", "SLOBudgetBurnsSlowly")
"""Alerts that `otel-latency slo` makes."""

_ARITHMETIC: Final = {"+": add, "-": sub, "*": mul, "/": truediv}
_COMPARISONS: Final = {">", "<", ">=", "<=", "==", "!="}


@cache
def rules() -> dict[str, AlertingRule]:
    """The shipped alerts by name."""
    return {
        rule.name: rule
        for path in sorted(ALERTS.glob("*.rules.yaml"))
        for group in rulefile.load(path.name, path.read_text(encoding="utf-8"))
        for rule in group.alerting()
    }


def names() -> list[str]:
    """Alerts that mean something: the watchdog always fires."""
    return [*sorted(name for name, rule in rules().items() if dict(rule.labels)["severity"] != "none"), *OF_OBJECTIVES]


def threshold(alert: str) -> float:
    """The number that *alert* compares its value with."""
    found = _compared(rules()[alert].node)
    if found is None:
        raise ValueError(f"{alert} compares with no number: name another alert")
    return found


def _compared(node: Node) -> float | None:
    """What the expression's value is compared with; conditions on other series come behind an `and`."""
    match node:
        case Binary(op=op, right=right) if op in _COMPARISONS:
            return _constant(right)
        case Binary(op="and" | "unless", left=left):
            return _compared(left)
    return None


def _constant(node: Node) -> float | None:
    match node:
        case Number(value=value):
            return value
        case Binary(op=op, left=left, right=right) if op in _ARITHMETIC:
            values = _constant(left), _constant(right)
            return None if None in values else _ARITHMETIC[op](*values)
    return None
