"""The notation of promtool's tests for the samples of a series: `1+1x5 _x3 stale NaN`.

A repetition gives one value more than its number says, as the first one stands for itself; one of blanks does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, TypeAlias

from otel_latency.errors import ExpressionError
from otel_latency.records import Labels
from otel_latency.rules.promql.nodes import MatchOp, VectorSelector
from otel_latency.rules.promql.parse import parse

MAX_SAMPLES: Final = 1_000_000


class Gap(Enum):
    """What may stand in place of a value: no sample, or the end of the series."""

    BLANK = "_"
    STALE = "stale"


Item: TypeAlias = float | Gap

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_WORD = r"(?:inf|nan)(?![a-z0-9_])"
_ITEM = re.compile(
    rf"(?:(?P<gap>_)(?:x(?P<blanks>[0-9]+))?|(?P<stale>stale)"
    rf"|(?P<first>[+-]?(?:{_NUMBER}|(?i:{_WORD})))(?:(?P<step>[+-](?:{_NUMBER}|(?i:{_WORD})))?x(?P<times>[0-9]+))?)"
    r"(?=\s|\Z)"
)
_HISTOGRAM = re.compile(r"\{\{")
_BLANK = re.compile(r"\s*")


def parse_sequence(text: str) -> list[Item]:
    """The values of a series, one per interval. Raises ExpressionError."""
    items: list[Item] = []
    at = _end_of_blank(text, 0)
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is None:
            raise ExpressionError(_fact(text, at), at)
        items.extend(_values(found, at))
        at = _end_of_blank(text, found.end())
    return items


def parse_series(text: str) -> Labels:
    """The labels of a series as it is written in a query, without conditions; empty labels are none."""
    bare = text.strip()
    if bare in {"", "{}"}:
        return ()
    node = parse(text)
    if not isinstance(node, VectorSelector) or node.offset_ms:
        raise ExpressionError('not a series: write name{label="value"}')
    for matcher in node.matchers:
        if matcher.op is not MatchOp.EQUAL:
            raise ExpressionError(f"a condition on {matcher.label} stands here: write = and the label's value")
    return tuple(sorted((matcher.label, matcher.value) for matcher in node.matchers if matcher.value))


def _values(found: re.Match[str], at: int) -> Iterator[Item]:
    if found["stale"]:
        yield Gap.STALE
    elif found["gap"]:
        for _ in range(_count(found["blanks"] or "1", at)):
            yield Gap.BLANK
    else:
        value, step = _number(found["first"], at), _number(found["step"] or "0", at)
        for _ in range(_count(found["times"] or "0", at) + 1):
            yield value
            value += step


def _number(text: str, at: int) -> float:
    value = float(text)
    if math.isinf(value) and "inf" not in text.lower():
        raise ExpressionError(f"{text!r} is larger than a number can be: write Inf", at)
    return value


def _count(text: str, at: int) -> int:
    count = int(text[:20])
    if count > MAX_SAMPLES:
        raise ExpressionError(f"{text} values are too many: at most {MAX_SAMPLES:,}", at)
    return count


def _end_of_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _fact(text: str, at: int) -> str:
    if _HISTOGRAM.match(text, at):
        return "native histograms are not part of the rules' language: use _bucket, _sum and _count series"
    word = text[at:].split(maxsplit=1)[0]
    return f"{word!r} is no value of a series: write 1, 1x5, 1+2x5, _, _x5, stale, NaN or Inf"
