"""A matcher as a function of a label's value; a label that a series lacks is "".

Most matchers of real rules need no regular expression: equality, `a|b|c`, `.*`, `.+` and `prefix.*` are answered by
string operations. A compiled matcher holds no state and may be shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from otel_latency.rules.promql.nodes import Matcher, MatchOp
from otel_latency.rules.promql.regex import compile_regex

Predicate = Callable[[str], bool]

_LITERAL = r"(?:[^\\.+*?()\[\]{}^$|]|\\[!-/:-@\[-`{-~])*"
_LITERALS = rf"{_LITERAL}(?:\|{_LITERAL})*"
_ALTERNATION = re.compile(rf"({_LITERALS})|\((?:\?:)?({_LITERALS})\)")
_PREFIX = re.compile(rf"({_LITERAL})\.\*")
_LETTER = re.compile(r"\\.|[^\\]", re.DOTALL)


def compile_matcher(matcher: Matcher, *, semantics: int) -> Predicate:
    """Raises ExpressionError for a pattern that Prometheus would refuse. With semantics 2 a dot takes no newline."""
    value = matcher.value
    match matcher.op:
        case MatchOp.EQUAL:
            return value.__eq__
        case MatchOp.NOT_EQUAL:
            return value.__ne__
        case MatchOp.REGEX:
            return _regex(value, dot_all=semantics >= 3)
        case MatchOp.NOT_REGEX:
            matches = _regex(value, dot_all=semantics >= 3)
            return lambda text: not matches(text)


def _regex(pattern: str, *, dot_all: bool) -> Predicate:
    alternation = _ALTERNATION.fullmatch(pattern)
    if alternation is not None:
        return frozenset(_branches(alternation[1] or alternation[2] or "")).__contains__
    if dot_all:
        if pattern == ".+":
            return bool
        if prefix := _PREFIX.fullmatch(pattern):
            start = _branches(prefix[1])[0]
            return lambda text: text.startswith(start)
    fullmatch = compile_regex(pattern, dot_all=dot_all).fullmatch
    return lambda text: fullmatch(text) is not None


def _branches(literals: str) -> list[str]:
    """What stands between the bars, unescaped."""
    branches = [""]
    for letter in _LETTER.findall(literals):
        if letter == "|":
            branches.append("")
        else:
            branches[-1] += letter[-1]
    return branches
