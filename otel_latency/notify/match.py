"""Which alerts a notifier is for: each label equal to a text or not, or matching a pattern or not.

    severity: critical         service: "=~checkout|search"         severity: "!=info"         team: "!~test.*"

A pattern is RE2's and matches the whole value. A label that is missing has the value "".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from otel_latency.regex import Predicate, fits

_PATTERNS: Final = {"=~": True, "!~": False}
_TEXTS: Final = {"!=": False}


class Matcher(NamedTuple):
    """One condition on one label."""

    label: str
    fits: Predicate
    is_wanted: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.fits(labels.get(self.label, "")) is self.is_wanted


def matchers(conditions: Mapping[str, str]) -> tuple[Matcher, ...]:
    """Read what stands in the file. Raises ExpressionError for a pattern that is none."""
    return tuple(_matcher(label, condition) for label, condition in conditions.items())


def matches(conditions: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Whether all of them hold; none at all match every alert."""
    return all(matcher.matches(labels) for matcher in conditions)


def _matcher(label: str, condition: str) -> Matcher:
    operator, rest = condition[:2], condition[2:]
    if operator in _PATTERNS:
        return Matcher(label, fits(rest), _PATTERNS[operator])
    if operator in _TEXTS:
        return Matcher(label, rest.__eq__, _TEXTS[operator])
    return Matcher(label, condition.__eq__, is_wanted=True)
