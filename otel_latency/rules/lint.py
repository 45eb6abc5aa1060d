"""What is legal in a rule file and yet cannot mean what its author wants, in the manner of cloudflare/pint.

A finding has a place, a fact and a cure. An *error* is a rule that never fires, always fires or cannot tell what it
should; a *warning* is a rule that may. `# otel-latency: ignore CHECK, CHECK` above or within a rule silences checks for
it. Nothing is evaluated: only the expressions are looked at, and what is known of the series by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from otel_latency.rules.contract import RECORDED, Surroundings
from otel_latency.rules.finding import Check, Finding, Report, Severity, warning
from otel_latency.rules.lint_alert import AlertLint
from otel_latency.rules.lint_expression import ExpressionLint
from otel_latency.rules.result_labels import result_labels
from otel_latency.rules.rule import AlertingRule, RecordingRule, Rule, RuleGroup
from otel_latency.rules.written import WrittenRule, WrittenRules


def lint(text: str, groups: Sequence[RuleGroup], around: Surroundings | None = None) -> list[Finding]:
    """What to say about *groups*, which `rulefile` read from *text*; in the order of the file."""
    if not groups:
        return []
    around = _with_recorded(around or Surroundings(), groups)
    places = WrittenRules(text)
    seen: dict[tuple[object, ...], int] = {}
    findings: list[Finding] = []
    for group in groups:
        interval_ms = group.interval_ms or around.interval_ms
        for rule in group.rules:
            written = places.rule(rule.line, rule.name)
            reports = [*_reports(rule, written, around, interval_ms), *_duplicate(rule, written, seen)]
            ignored = places.ignored(rule.line)
            findings += [
                Finding(check, severity, group.file, mark.line, mark.column, group.name, rule.name, fact)
                for check, severity, mark, fact in reports
                if check.value not in ignored
            ]
    return sorted(findings, key=lambda one: (one.line, one.column))


def _with_recorded(around: Surroundings, groups: Sequence[RuleGroup]) -> Surroundings:
    recorded = (rule.name for group in groups for rule in group.rules if isinstance(rule, RecordingRule))
    return replace(around, series={**around.series, **dict.fromkeys(recorded, RECORDED)})


def _reports(rule: Rule, written: WrittenRule, around: Surroundings, interval_ms: int) -> Iterator[Report]:
    yield from ExpressionLint(around, written.at).reports(rule.node)
    if isinstance(rule, AlertingRule):
        labels = result_labels(rule.node, around.series)
        yield from AlertLint(rule, written, labels, around.owned).reports(interval_ms)


def _duplicate(rule: Rule, written: WrittenRule, seen: dict[tuple[object, ...], int]) -> Iterator[Report]:
    key = (type(rule), rule.name, rule.labels)
    first = seen.setdefault(key, rule.line)
    if first != rule.line:
        fact = f"line {first} has a rule with the same name and labels: rename one, or tell them apart by a label"
        yield warning(Check.DUPLICATE_RULE, written.mark, fact)


__all__ = ["Check", "Finding", "Severity", "Surroundings", "lint"]
