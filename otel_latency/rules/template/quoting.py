r"""Go's quoted strings: read as in source (`"a\n"`, raw in backquotes), written as `%q` does, escaped for the web.

A Go string is bytes; ours is text in which a byte that is not UTF-8 stands as a surrogate (PEP 383).
"""

from __future__ import annotations

import re

from otel_latency.errors import ExpressionError

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|([^\\])", re.DOTALL)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_SHORT = {character: "\\" + letter for letter, character in _PLAIN.items()}
_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JAVASCRIPT = {"\\": r"\\", "'": r"\'", '"': r"\"", "<": r"\u003C", ">": r"\u003E", "&": r"\u0026", "=": r"\u003D"}


def to_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A surrogate of another kind, as JSON can smuggle in, is nothing that Go could hold.
        return text.encode("utf-8", "replace")


def from_bytes(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def unquote(literal: str) -> str:
    """The string that a Go literal of any quote stands for; raises ExpressionError when it is malformed."""
    quote, inner = literal[0], literal[1:-1]
    if quote == "`":
        return inner.replace("\r", "")
    if "\\" not in inner:
        return inner
    found = b""
    at = 0
    while at < len(inner):
        match = _ESCAPE.match(inner, at)
        if not match:
            raise ExpressionError("invalid syntax")
        found += _unescaped(match, quote)
        at = match.end()
    return from_bytes(found)


def _unescaped(match: re.Match[str], quote: str) -> bytes:
    byte, octal, short, long, letter, plain = match.groups()
    if plain is not None:
        return to_bytes(plain)
    if letter is not None:
        if letter != quote and letter not in _PLAIN:
            raise ExpressionError("invalid syntax")
        return to_bytes(_PLAIN.get(letter, letter))
    code = int(byte or short or long, 16) if octal is None else int(octal, 8)
    limit = 0x10FFFF if short or long else 0xFF
    if code > limit or ((short or long) and 0xD800 <= code <= 0xDFFF):
        raise ExpressionError("invalid syntax")
    return to_bytes(chr(code)) if short or long else bytes([code])


def quote(text: str, *, mark: str = '"', ascii_only: bool = False) -> str:
    """Go's `%q`: printable characters as they are, the rest escaped."""
    if text.isascii() and text.isprintable() and "\\" not in text and mark not in text:
        return f"{mark}{text}{mark}"
    return mark + "".join(_escaped(character, mark, ascii_only) for character in text) + mark


def _escaped(character: str, mark: str, ascii_only: bool) -> str:
    code = ord(character)
    if character in (mark, "\\"):
        return "\\" + character
    if character.isprintable() and (code < 0x80 or not ascii_only):
        return character
    if character in _SHORT:
        return _SHORT[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_html(text: str) -> str:
    return text.translate(_HTML)


def escape_javascript(text: str) -> str:
    return "".join(_javascript(character) for character in text)


def _javascript(character: str) -> str:
    if character in _JAVASCRIPT:
        return _JAVASCRIPT[character]
    if character >= " " and (character.isprintable() or character == "\x7f"):
        return character
    code = ord(character)
    return f"\\u{0xFFFD if 0xDC80 <= code <= 0xDCFF else code:04X}"
