"""Series by name and labels, as in `otel_latency_stage_duration_seconds{stage="llm"}`: the equalities of PromQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from otel_latency.errors import ExpressionError
from otel_latency.records import Labels

MAX_CHARACTERS: Final = 4096
_NAME: Final = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*")
_QUOTED: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*[']"""
_MATCHER: Final = re.compile(rf"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(!=|=~|!~|=)\s*({_QUOTED})\s*")


@dataclass(frozen=True, slots=True)
class Selector:
    """A name, and (label, text, whether it is to be equal). A label that a series has not is empty."""

    name: str
    matchers: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series of this name is meant."""
        return all((labels.get(label, "") == text) is wanted for label, text, wanted in self.matchers)

    def means(self, name: str, labels: Labels) -> bool:
        """Whether the series of that name and those labels is meant."""
        return name == self.name and self.matches(dict(labels))


def parse(text: str) -> Selector:
    """Raises ExpressionError, which knows the place in *text*."""
    found = _NAME.match(text)
    if found is None or len(text) > MAX_CHARACTERS:
        raise ExpressionError('a series begins with its name: write name or name{label="text"}')
    at = found.end()
    if at == len(text):
        return Selector(found[1])
    if text[at] != "{" or not text.rstrip().endswith("}"):
        raise ExpressionError('labels stand in braces: write name{label="text"}', at)
    return Selector(found[1], _matchers(text.rstrip(), at + 1))


def _matchers(text: str, at: int) -> tuple[tuple[str, str, bool], ...]:
    matchers = []
    while text[at:-1].strip():
        found = _MATCHER.match(text, at)
        if found is None:
            raise ExpressionError('this is no condition: write label="text"', at)
        label, operator, quoted = found.groups()
        if "~" in operator:
            raise ExpressionError("history knows no patterns: write = or !=", found.start(2))
        matchers.append((label, _unquoted(quoted, found.start(3)), operator == "="))
        at = found.end()
        if text[at] == ",":
            at += 1
        elif at != len(text) - 1:
            raise ExpressionError("conditions are separated by commas", at)
    return tuple(matchers)


def _unquoted(quoted: str, at: int) -> str:
    if quoted[0] == "'":
        quoted = '"' + re.sub(r"""\\'|\\.|\"""", _requoted, quoted[1:-1]) + '"'
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError as error:
        raise ExpressionError("the text is not quoted well: write a backslash as two", at) from error


def _requoted(found: re.Match[str]) -> str:
    """What needs another form between double quotes than between single ones."""
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])
