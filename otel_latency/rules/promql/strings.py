r"""Go's string literals: "...", '...' with escapes, and `...` as it stands.

An escape of one byte above 0x7f (`\xff`) may form UTF-8 with its neighbours; what does not becomes a lone surrogate, so
that every literal is a `str`, differs from every other, and can be quoted again.
"""

from __future__ import annotations

import re

from otel_latency.errors import ExpressionError

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_NUMERIC = {"x": 2, "u": 4, "U": 8}
_ESCAPE = re.compile(r"\\([0-7]{3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_QUOTED = {**{value: f"\\{letter}" for letter, value in _SIMPLE.items()}, '"': '\\"'}
_MAX_BYTE = 0xFF


def unquote(literal: str, at: int = 0) -> str:
    """The value of a literal that stands at offset *at*, quotes included."""
    quote, body = literal[0], literal[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    text = _ESCAPE.sub(lambda match: _value(match, quote, at), body)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def quote(value: str) -> str:
    """A literal in double quotes whose value this is."""
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _value(match: re.Match[str], quote: str, at: int) -> str:
    escape = match[1]
    kind = escape[0]
    if escape in _SIMPLE:
        return _SIMPLE[escape]
    if escape == quote:
        return quote
    place = at + 1 + match.start()
    if len(escape) == 1:
        if kind in _NUMERIC or kind in "01234567":
            raise ExpressionError(f"illegal character in escape sequence \\{kind}", place)
        cure = ": write a backslash twice, or quote with ` `" if kind in "dDsSwW.+*?()[]{}|^$-/" else ""
        raise ExpressionError(f"unknown escape sequence U+{ord(kind):04X} '{kind}'{cure}", place)
    code = int(escape[1:], 16) if kind in _NUMERIC else int(escape, 8)
    if kind not in "uU":
        return _byte(code, place)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ExpressionError("escape sequence is an invalid Unicode code point", place)
    return chr(code)


def _byte(code: int, place: int) -> str:
    if code > _MAX_BYTE:
        raise ExpressionError("escape sequence is an invalid Unicode code point", place)
    return bytes([code]).decode("ascii", "surrogateescape")


def _escaped(character: str) -> str:
    if character in _QUOTED:
        return _QUOTED[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
