"""The answer of `otel-latency rules explain`: a rule of a running agent, taken apart, with the value of every part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from otel_latency.cli.client import AgentClient
from otel_latency.errors import OtelLatencyError
from otel_latency.records import Labels
from otel_latency.rules.explain import Explained, explain
from otel_latency.rules.promql.nodes import METRIC_NAME
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.promql.show import show
from otel_latency.rules.promql.values import Element, Value
from otel_latency.rules.template.numerals import positional


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    """A rule as /api/v1/rules tells it, where it stands, and its expression taken apart."""

    rule: Mapping[str, Any]
    group: str
    file: str
    expression: Explained


def ask(client: AgentClient, name: str) -> list[ExplainedRule]:
    """The rules of this name, each explained. Raises OtelLatencyError when the agent has none."""
    groups = client.prometheus("rules")["groups"]
    found = [(group, rule) for group in groups for rule in group["rules"] if rule["name"] == name]
    if not found:
        raise OtelLatencyError(f"{name}: {_no_such_rule(name, groups)}")
    # One moment for all parts, by the agent's own clock.
    _, now = client.prometheus("query", query="time()")["result"]
    return [_explained(client, group, rule, now) for group, rule in found]


def as_text(explained: ExplainedRule, shown: int) -> str:
    """For people; at most *shown* elements of each part."""
    rule = explained.rule
    state = rule.get("state", "recording")
    hold = f", for {rule['duration']:g}s" if rule.get("duration") else ""
    error = f"\n  {rule['lastError']}" if rule.get("lastError") else ""
    lines = list(_lines(explained.expression, 1, shown))
    width = max(len(left) for left, _ in lines)
    table = "\n".join(f"{left:{width}}  {right}".rstrip() if right else left for left, right in lines)
    return f"{rule['name']}  {explained.file}, group {explained.group}: {state}{hold}{error}\n{table}"


def as_json(explained: ExplainedRule) -> dict[str, object]:
    """For machines, with every element."""
    rule = explained.rule
    return {
        "name": rule["name"],
        "group": explained.group,
        "file": explained.file,
        "type": rule["type"],
        "state": rule.get("state"),
        "error": rule.get("lastError", ""),
        "alerts": rule.get("alerts", []),
        "expression": _part(explained.expression),
    }


def _explained(client: AgentClient, group: Mapping[str, Any], rule: Mapping[str, Any], at: str) -> ExplainedRule:
    text = rule["query"]
    expression = explain(parse(text), text, lambda node: _value(client.prometheus("query", query=show(node), time=at)))
    return ExplainedRule(rule, group["name"], group["file"], expression)


def _value(data: Mapping[str, Any]) -> Value:
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return float(result[1])
    if kind == "string":
        return str(result[1])
    return [Element(_labels(one["metric"]), float(one["value"][1])) for one in result]


def _labels(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted(metric.items()))


def _no_such_rule(name: str, groups: list[dict[str, Any]]) -> str:
    known = [rule["name"] for group in groups for rule in group["rules"]]
    if not known:
        return "the agent evaluates no rules: name files in rules.files"
    close = get_close_matches(name, known, 1)
    return "the agent has no such rule: " + (f"did you mean {close[0]}?" if close else "see its /api/v1/rules")


def _lines(part: Explained, depth: int, shown: int) -> Iterator[tuple[str, str]]:
    """Each line as what stands left, and the count that stands in a column of its own."""
    indent = "  " * depth
    yield f"{indent}{' '.join(part.text.split())}", part.error or _count(part.value)
    if isinstance(part.value, list):
        for element in part.value[:shown]:
            yield f"{indent}  {_series(element.labels)}  {positional(element.value)}", ""
        if len(part.value) > shown:
            yield f"{indent}  ... and {len(part.value) - shown} more", ""
    for inner in part.parts:
        yield from _lines(inner, depth + 1, shown)


def _count(value: Value | None) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return f"{len(value)} element{'' if len(value) == 1 else 's'}"
    return positional(value) if isinstance(value, float) else repr(value)


def _series(labels: Labels) -> str:
    name = dict(labels).get(METRIC_NAME, "")
    inner = ", ".join(f'{label}="{value}"' for label, value in labels if label != METRIC_NAME)
    return f"{name}{{{inner}}}"


def _part(part: Explained) -> dict[str, object]:
    value: object = part.value
    if isinstance(part.value, list):
        value = [{"metric": dict(element.labels), "value": positional(element.value)} for element in part.value]
    elif isinstance(part.value, float):
        value = positional(part.value)
    return {"text": part.text, "value": value, "error": part.error, "parts": [_part(inner) for inner in part.parts]}
