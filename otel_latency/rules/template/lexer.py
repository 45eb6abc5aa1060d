"""A template's text as tokens: plain text, and what stands between `{{` and `}}`.

Trim markers and comments are dealt with here; the parser never sees them. A fault ends the list with an `error`
token, so that the parser speaks up first about what it met before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from otel_latency.rules.template.quoting import quote

_SPACES = " \t\r\n"
_WORD = re.compile(r"[^\W]+")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX](?P<hex>[0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?)|0[oO][0-7_]*|0[bB][01_]*"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"|\'(?:[^\'\\\n]|\\[^\n])*\'|`[^`]*`')
_QUOTES = {'"': ("string", "quoted string"), "'": ("rune", "character constant"), "`": ("string", "raw quoted string")}
_KEYWORDS = frozenset(["block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with"])
_SIGNS = "=:|()"


class Token(NamedTuple):
    """`kind` is a keyword, a sign, or one of: text {{ }} space field variable identifier bool number rune string
    . character error end.
    """

    kind: str
    at: int
    text: str

    def __str__(self) -> str:
        if self.kind == "end":
            return "EOF"
        if self.kind == "error":
            return self.text
        if self.kind in _KEYWORDS or self.kind == ".":
            return f"<{self.text}>"
        return quote(self.text) if len(self.text) <= 10 else f"{quote(self.text[:10])}..."


class _Fault(Exception):
    """What Go's lexer says, and where the token began."""

    def __init__(self, fact: str, at: int) -> None:
        super().__init__(fact)
        self.token = Token("error", at, fact)


def tokens(text: str) -> list[Token]:
    """The last token is an `end` or an `error`."""
    found: list[Token] = []
    try:
        found.extend(_all(text, found))
    except _Fault as fault:
        found.append(fault.token)
    return found


def _all(text: str, found: list[Token]) -> Iterator[Token]:
    position = 0
    while (opening := text.find("{{", position)) >= 0:
        inside, trims = _opened(text, opening)
        plain = text[position:opening].rstrip(_SPACES) if trims else text[position:opening]
        if plain:
            found.append(Token("text", position, plain))
        if text.startswith("/*", inside):
            position = _after_comment(text, inside)
            continue
        found.append(Token("{{", opening, "{{"))
        position = _action(text, inside, found)
    if position < len(text):
        yield Token("text", position, text[position:])
    yield Token("end", len(text), "")


def _opened(text: str, opening: int) -> tuple[int, bool]:
    """Where the inside of an action begins, and whether it trims the text before it."""
    inside = opening + 2
    trims = text.startswith("-", inside) and text[inside + 1 : inside + 2] in tuple(_SPACES)
    return (inside + 2 if trims else inside), trims


def _closing(text: str, position: int) -> int:
    """The length of a closing delimiter here with its trim marker, or 0."""
    if text.startswith("}}", position):
        return 2
    if text.startswith("-}}", position + 1) and text[position] in _SPACES:
        return 4
    return 0


def _after_comment(text: str, position: int) -> int:
    end = text.find("*/", position)
    if end < 0:
        raise _Fault("unclosed comment", position)
    length = _closing(text, end + 2)
    if not length:
        raise _Fault("comment ends before closing delimiter", position)
    return _trimmed(text, end + 2 + length, length)


def _trimmed(text: str, position: int, closing: int) -> int:
    while closing == 4 and text[position : position + 1] in tuple(_SPACES):
        position += 1
    return position


def _action(text: str, position: int, found: list[Token]) -> int:
    """Take the tokens of one action; answers where the text after it begins."""
    depth = 0
    while True:
        length = _closing(text, position)
        if length and depth > 0:
            raise _Fault("unclosed left paren", position)
        if length:
            found.append(Token("}}", position + length - 2, "}}"))
            return _trimmed(text, position + length, length)
        token = _token(text, position)
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        found.append(token)
        position += len(token.text)


def _token(text: str, at: int) -> Token:
    character = text[at : at + 1]
    if not character:
        raise _Fault("unclosed action", at)
    if character in _SPACES:
        return _spaces(text, at)
    if character in _SIGNS:
        return _sign(text, at)
    if character in _QUOTES:
        return _quoted(text, at)
    if character == "$" or (character == "." and not text[at + 1 : at + 2].isdecimal()):
        return _dotted(text, at)
    if character in "+-." or "0" <= character <= "9":
        return _number(text, at)
    if _WORD.match(character):
        return _word(text, at)
    if " " <= character <= "~":
        return Token("character", at, character)
    raise _Fault(f"unrecognized character in action: {_named(character)}", at)


def _sign(text: str, at: int) -> Token:
    if text[at] != ":":
        return Token(text[at], at, text[at])
    if not text.startswith(":=", at):
        raise _Fault("expected :=", at)
    return Token(":=", at, ":=")


def _spaces(text: str, at: int) -> Token:
    end = at
    while text[end : end + 1] in tuple(_SPACES) and not _closing(text, end):
        end += 1
    return Token("space", at, text[at:end])


def _quoted(text: str, at: int) -> Token:
    kind, name = _QUOTES[text[at]]
    match = _QUOTED.match(text, at)
    if not match:
        raise _Fault(f"unterminated {name}", at)
    return Token(kind, at, match[0])


def _dotted(text: str, at: int) -> Token:
    kind = "variable" if text[at] == "$" else "field"
    match = _WORD.match(text, at + 1)
    end = match.end() if match else at + 1
    _check_end(text, at, end)
    if end == at + 1 and kind == "field":
        return Token(".", at, ".")
    return Token(kind, at, text[at:end])


def _word(text: str, at: int) -> Token:
    match = _WORD.match(text, at)
    assert match is not None
    _check_end(text, at, match.end())
    word = match[0]
    if word in _KEYWORDS:
        return Token(word, at, word)
    return Token("bool" if word in {"true", "false"} else "identifier", at, word)


def _number(text: str, at: int) -> Token:
    match = _NUMBER.match(text, at)
    end = match.end() if match else at
    if _WORD.match(text, end):
        raise _Fault(f"bad number syntax: {quote(text[at : end + 1])}", at)
    if text[end : end + 1] in {"+", "-"}:
        # Go reads a complex number here; rules have no use for one.
        second = _NUMBER.match(text, end)
        raise _Fault(f"bad number syntax: {quote(text[at : second.end() if second else end])}", at)
    return Token("number", at, text[at:end])


def _check_end(text: str, at: int, end: int) -> None:
    """After a name comes a space, one of `.,|:()`, the end of the action or of the text."""
    following = text[end : end + 1]
    if following and following not in f"{_SPACES}.,|:()" and not text.startswith("}}", end):
        raise _Fault(f"bad character {_named(following)}", at)


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    return f"{code} '{character}'" if character.isprintable() else code
