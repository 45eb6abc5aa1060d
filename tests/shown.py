"""What the committed dashboards ask for: panels, expressions, and their parts as promql-parser sees them.

for panel, target, expr in targets(dashboard):
    for node, above in nodes(expr):
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser as promql

FOLDER = Path(__file__).parents[1] / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
MAGIC = "7m33s"
"""Stands for $__rate_interval: no other range is as long."""
VARIABLES = {"__rate_interval": MAGIC, "__range": "1h", "__interval": "15s", "compare": "1d"}


def filled(expr: str, **values: str) -> str:
    """*expr* with values for its variables; those that a reader chooses are All."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: ({**VARIABLES, **values}).get(found[1], ".+"), expr)


def panels(dashboard: dict) -> Iterator[dict]:
    """All panels, also those in rows that are closed; no rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def targets() -> Iterator[tuple[str, dict, dict]]:
    """(where, panel, target) of every query of a panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}: {panel['id']} {panel['title']}: {target['refId']}", panel, target


def variables(kind: str = "query") -> Iterator[tuple[str, dict]]:
    """(where, variable) of every variable of a kind."""
    for name, dashboard in DASHBOARDS.items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == kind:
                yield f"{name}: {variable['name']}", variable


def series_of(variable: dict) -> str:
    """The selector whose labels a variable offers."""
    return re.fullmatch(r"label_values\((.*), \w+\)", variable["query"])[1]


def annotations() -> Iterator[tuple[str, str]]:
    """(where, expression) of every annotation that asks Prometheus."""
    for name, dashboard in DASHBOARDS.items():
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                yield f"{name}: {annotation['name']}", annotation["expr"]


def nodes(expr: str) -> Iterator[tuple[promql.Expr, tuple[promql.Expr, ...]]]:
    """Each node of an expression, with those above it, the nearest last."""
    return _below(promql.parse(filled(expr)), ())


def selectors(expr: str) -> list[promql.VectorSelector]:
    return [node for node, _ in nodes(expr) if isinstance(node, promql.VectorSelector)]


def matchers(selector: promql.VectorSelector) -> dict[str, str]:
    return {one.name: one.value for one in selector.matchers.matchers}


def _below(node, above):
    yield node, above
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, part, None)
        if isinstance(child, promql.Expr):
            yield from _below(child, (*above, node))
    for child in getattr(node, "args", ()):
        yield from _below(child, (*above, node))
