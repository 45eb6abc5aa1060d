"""What a linter says: which check, how grave, where, and a fact with its cure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from otel_latency.rules.marked import Mark


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


class Check(Enum):
    """By the name that findings end with, and that a comment ignores."""

    UNKNOWN_SERIES = "unknown-series"
    RATE_ON_GAUGE = "rate-on-gauge"
    MISSING_RATE = "missing-rate"
    SHORT_WINDOW = "short-window"
    ALWAYS_FIRES = "always-fires"
    UNKNOWN_LABEL = "unknown-label"
    VALUE_IN_LABEL = "value-in-label"
    HISTOGRAM_QUANTILE = "histogram-quantile"
    PLAIN_REGEX = "plain-regex"
    SHORT_FOR = "short-for"
    PROMETHEUS_ONLY = "prometheus-only"
    MISSING_SEVERITY = "missing-severity"
    MISSING_SUMMARY = "missing-summary"
    DUPLICATE_RULE = "duplicate-rule"
    MATCHING = "matching"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; as text it is one line, like the faults of `rulefile`."""

    check: Check
    severity: Severity
    file: str
    line: int
    column: int
    group: str
    rule: str
    fact: str

    def __str__(self) -> str:
        place = f'{self.file}:{self.line}:{self.column}: group "{self.group}", rule "{self.rule}"'
        return f"{place}: {self.fact} ({self.severity.value}: {self.check.value})"


class Report(NamedTuple):
    """A finding of which only the rule is not told yet."""

    check: Check
    severity: Severity
    mark: Mark
    fact: str


def error(check: Check, mark: Mark, fact: str) -> Report:
    return Report(check, Severity.ERROR, mark, fact)


def warning(check: Check, mark: Mark, fact: str) -> Report:
    return Report(check, Severity.WARNING, mark, fact)
