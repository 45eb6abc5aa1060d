"""Text into tokens. A token's kind is what the grammar asks for: `+`, `(`, `sum`, `NUMBER`, `IDENTIFIER`, ...

Keywords are recognised in any case, and only outside braces, as in Prometheus: inside braces every word is a label.
What cannot be read becomes an ERROR token, which ends the list: the parser tells it only if nothing before is wrong.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from otel_latency.rules.promql.signatures import AGGREGATIONS


class Token(NamedTuple):
    """`text[start:end]` of the expression, but for an ERROR, whose text is the fact."""

    kind: str
    text: str
    start: int
    end: int


WORD_OPERATORS = frozenset({"and", "or", "unless", "atan2"})
CLAUSES = frozenset({"offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool"})
KEYWORDS = WORD_OPERATORS | CLAUSES | AGGREGATIONS.keys()

_NUMBERS = frozenset({"inf", "nan"})
_OPERATORS = frozenset({"+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "=~", "!~", "@"})

_BLANK = r"[ \t\r\n]*+(?:\#[^\r\n]*+[ \t\r\n]*+)*+"
_STRING = r"""(?P<STRING>"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"|'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'|`[^`]*+`)"""
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = (
    rf"(?P<NUMBER>(?>0[xX](?:_?[0-9a-fA-F])+|(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?[0-9]+)?)"
    r"(?![0-9A-Za-z_.]))"
)
_DURATION = r"(?P<DURATION>\.?[0-9][0-9A-Za-z_.]*)"
_REST = r"(?P<EOF>\Z)|(?P<OTHER>[\s\S])"


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile(f"{_BLANK}(?:{'|'.join(alternatives)}|{_REST})")


_OUTSIDE = _pattern(
    r"(?P<WORD>[A-Za-z_:][A-Za-z0-9_:]*+)",
    r"(?P<SYMBOL>[=!<>]=|[-+*/%^<>=(){}\[\],@])",
    _NUMBER,
    _DURATION,
    _STRING,
)
_IN_BRACES = _pattern(r"(?P<IDENTIFIER>[A-Za-z_][A-Za-z0-9_]*+)", r"(?P<SYMBOL>=~|!~|!=|[=,}])", _STRING)
_IN_BRACKETS = _pattern(_NUMBER, _DURATION, r"(?P<WORD>[A-Za-z_][A-Za-z0-9_]*+)", r"(?P<SYMBOL>[\]\[:()+*/%^@,-])")
_ENTERED_BY = {"{": _IN_BRACES, "[": _IN_BRACKETS, "}": _OUTSIDE, "]": _OUTSIDE}


def tokens(text: str) -> list[Token]:
    """All tokens of *text*; the last one is EOF or ERROR."""
    found: list[Token] = []
    pattern, position = _OUTSIDE, 0
    while True:
        match = pattern.match(text, position)
        assert match is not None, "the last alternatives take the end and any character"
        group = match.lastgroup or ""
        start, position = match.span(group)
        kind = lexeme = match[group]
        if group == "WORD":
            kind = _kind_of_word(lexeme)
        elif group == "SYMBOL":
            pattern = _ENTERED_BY.get(lexeme, pattern)
        elif group in {"EOF", "OTHER"}:
            found.append(_last(text, start, pattern, found))
            return found
        else:
            kind = group
        found.append(Token(kind, lexeme, start, position))


def _kind_of_word(word: str) -> str:
    lower = word.lower()
    if lower in KEYWORDS:
        return lower
    if lower in _NUMBERS:
        return "NUMBER"
    return "METRIC_IDENTIFIER" if ":" in word else "IDENTIFIER"


def _last(text: str, at: int, pattern: re.Pattern[str], found: list[Token]) -> Token:
    if at < len(text):
        return Token("ERROR", _fault(text, at, pattern), at, at + 1)
    if pattern is _IN_BRACES:
        return Token("ERROR", "unexpected end of input inside braces", at, at)
    if pattern is _IN_BRACKETS:
        return Token("ERROR", "unclosed left bracket", at, at)
    kinds = [token.kind for token in found]
    if kinds.count("(") > kinds.count(")"):
        return Token("ERROR", "unclosed left parenthesis", at, at)
    return Token("EOF", "", at, at)


def _fault(text: str, at: int, pattern: re.Pattern[str]) -> str:
    character = text[at]
    if character in "\"'":
        return "unterminated quoted string"
    if character == "`":
        return "unterminated raw string"
    if character == "!":
        return f"unexpected character after '!': {text[at + 1 : at + 2]!r}"
    where = " inside braces" if pattern is _IN_BRACES else ""
    return f"unexpected character{where}: {character!r}"


def describe(token: Token) -> str:
    """How Prometheus' messages name a token."""
    kind = token.kind
    if kind == "EOF":
        return "end of input"
    if kind in AGGREGATIONS:
        return f"<aggr:{token.text}>"
    if kind in CLAUSES:
        return f"<{token.text}>"
    if kind in WORD_OPERATORS or kind in _OPERATORS:
        return f"<op:{token.text}>"
    name = {"IDENTIFIER": "identifier ", "METRIC_IDENTIFIER": "metric identifier "}.get(kind)
    if name is None:
        name = f"{kind.lower()} " if kind.isupper() else ""
    return f'{name}"{token.text}"'
