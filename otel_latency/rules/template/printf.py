"""Go's fmt for the values of templates: `print`, `println`, and `printf` with its verbs, flags and complaints.

A verb that does not fit its operand is no error in Go but a text: `%!d(float64=1)`, `%!v(MISSING)`,
`%!(EXTRA int=2)`. Where Go prints an address (a sample inside a query's result) the sample itself is printed.
Output beyond `MAX_BYTES` is a `Fault`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from otel_latency.rules.template import numerals
from otel_latency.rules.template.instants import Duration, Instant, Month, Weekday
from otel_latency.rules.template.quoting import quote, to_bytes
from otel_latency.rules.template.values import MAX_BYTES, Byte, Fault, Struct, Vector, limited, type_name

_DIRECTIVE = re.compile(
    r"%(?P<flags>[#0+\- ]*)(?P<width_from>\[[^\]]*\]?)?(?P<width>\*|[0-9]+)?"
    r"(?:\.(?P<precision_from>\[[^\]]*\]?)?(?P<precision>\*|[0-9]*))?(?P<operand_from>\[[^\]]*\]?)?(?P<verb>.)?",
    re.DOTALL,
)
_STRINGABLE = "vsxXq"
_TOO_LARGE = 1_000_000


@dataclass(frozen=True, slots=True)
class _Style:
    """The flags, width and precision of one verb; `%+v` and `%#v` are ways of their own."""

    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int = 0
    precision: int | None = None
    with_names: bool = False
    go_syntax: bool = False


_DEFAULT = _Style()


@dataclass(frozen=True, slots=True)
class _Directive:
    style: _Style
    width: str | None
    precision: str | None
    positions: tuple[str | None, str | None, str | None]
    verb: str | None


def sprint(values: Sequence[Any]) -> str:
    """Operands one after another, with a space between two that are no strings."""
    parts: list[str] = []
    after_text = True
    for value in values:
        is_text = isinstance(value, str)
        if not (is_text or after_text):
            parts.append(" ")
        parts.append(_format(value, "v", _DEFAULT))
        after_text = is_text
    return "".join(limited(parts))


def sprintln(values: Sequence[Any]) -> str:
    return " ".join(limited((_format(value, "v", _DEFAULT) for value in values), joint=1)) + "\n"


def sprintf(layout: str, values: Sequence[Any]) -> str:
    return "".join(limited(_Layout(values).fill(layout)))


def default_text(value: Any) -> str:
    """Go's `%v`."""
    return _format(value, "v", _DEFAULT)


@lru_cache(maxsize=256)
def _parts(layout: str) -> tuple[str | _Directive, ...]:
    """A layout taken apart: plain text and directives."""
    parts: list[str | _Directive] = []
    at = 0
    for match in _DIRECTIVE.finditer(layout):
        parts.append(layout[at : match.start()])
        parts.append(_directive(match))
        at = match.end()
    return tuple(part for part in (*parts, layout[at:]) if part != "")


def _directive(match: re.Match[str]) -> _Directive:
    flags, verb = match["flags"], match["verb"]
    style = _Style(
        minus="-" in flags,
        plus="+" in flags and verb != "v",
        sharp="#" in flags and verb != "v",
        space=" " in flags,
        zero="0" in flags and "-" not in flags,
        width=_number(match["width"]) or 0,
        precision=_number(match["precision"]),
        with_names="+" in flags and verb == "v",
        go_syntax="#" in flags and verb == "v",
    )
    positions = (match["width_from"], match["precision_from"], match["operand_from"])
    return _Directive(style, match["width"], match["precision"], positions, verb)


def _number(digits: str | None) -> int | None:
    if digits is None or digits == "*":
        return None
    return min(int(digits[:8] or "0"), _TOO_LARGE + 1)


class _Layout:
    """One `printf` under way: which operand is next, and whether they were taken out of order."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self._next = 0
        self._reordered = False
        self._well_placed = True

    def fill(self, layout: str) -> Iterator[str]:
        for part in _parts(layout):
            if isinstance(part, str):
                yield part
            else:
                yield from self._fill(part)
        if not self._reordered and self._next < len(self._values):
            extra = ", ".join(_with_type(value) for value in self._values[self._next :])
            yield f"%!(EXTRA {extra})"

    def _fill(self, directive: _Directive) -> Iterator[str]:
        style, verb = directive.style, directive.verb
        if any(directive.positions) or "*" in (directive.width, directive.precision):
            style, complaint = self._placed(directive)
            yield complaint
        if style.width > MAX_BYTES or (style.precision or 0) > MAX_BYTES:
            raise Fault(f"a text may have {MAX_BYTES} bytes")
        if verb is None:
            yield "%!(NOVERB)"
        elif verb == "%":
            yield "%"
        elif not self._well_placed:
            yield f"%!{verb}(BADINDEX)"
        elif self._next >= len(self._values):
            yield f"%!{verb}(MISSING)"
        else:
            yield _format(self._values[self._next], verb, style)
            self._next += 1
        self._well_placed = True

    def _placed(self, directive: _Directive) -> tuple[_Style, str]:
        """Follow `[n]` and `*`; answers the style they make and what is wrong with a `*`."""
        style, complaint = directive.style, ""
        before_width, before_precision, before_operand = directive.positions
        self._go_to(before_width)
        if directive.width == "*":
            width = self._star()
            if width is None:
                complaint += "%!(BADWIDTH)"
            elif width < 0:
                style = replace(style, width=-width, minus=True, zero=False)
            else:
                style = replace(style, width=width)
        elif before_width and directive.width:
            self._well_placed = False
        if directive.precision is not None:
            if before_width and directive.width != "*":
                self._well_placed = False
            self._go_to(before_precision)
        if directive.precision == "*":
            precision = self._star()
            if precision is None or precision < 0:
                complaint += "%!(BADPREC)"
            else:
                style = replace(style, precision=precision)
        elif before_precision and directive.precision:
            self._well_placed = False
        self._go_to(before_operand)
        return style, complaint

    def _go_to(self, position: str | None) -> None:
        if position is None:
            return
        self._reordered = True
        number = position[1:-1]
        if position.endswith("]") and number.isdecimal() and 1 <= int(number[:8]) <= len(self._values):
            self._next = int(number[:8]) - 1
        else:
            self._well_placed = False

    def _star(self) -> int | None:
        if self._next >= len(self._values):
            return None
        value = self._values[self._next]
        self._next += 1
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _TOO_LARGE:
            return None
        return int(value)


def _with_type(value: Any) -> str:
    return "<nil>" if value is None else f"{type_name(value)}={_format(value, 'v', _DEFAULT)}"


def _bad_verb(value: Any, verb: str, style: _Style) -> str:
    if value is None:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({type_name(value)}={_format(value, 'v', style)})"


def _format(value: Any, verb: str, style: _Style) -> str:
    if verb == "v" and style is _DEFAULT:
        if type(value) is str:
            return value
        if type(value) is float:
            return numerals.shortest(value)
    if value is None:
        return _padded("<nil>", style) if verb in "Tv" else _bad_verb(value, verb, style)
    if verb == "T":
        return _padded(_cut(type_name(value), style), style)
    return _by_kind(value, verb, style)


def _by_kind(value: Any, verb: str, style: _Style) -> str:
    if isinstance(value, Month | Weekday | Instant | Duration) and verb in _STRINGABLE and not style.go_syntax:
        return _string(str(value), value, verb, style)
    if isinstance(value, Instant | Duration):
        return f"%!{verb}({type_name(value)}={value})"
    if isinstance(value, bool):
        return _padded("true" if value else "false", style) if verb in "tv" else _bad_verb(value, verb, style)
    if isinstance(value, float):
        return _float(value, verb, style)
    if isinstance(value, int):
        return _integer(value, verb, style)
    if isinstance(value, str):
        return _string(value, value, verb, style)
    return _composite(value, verb, style)


def _padded(text: str, style: _Style) -> str:
    missing = style.width - len(text)
    if missing <= 0:
        return text
    if style.minus:
        return text + " " * missing
    return ("0" if style.zero else " ") * missing + text


def _cut(text: str, style: _Style) -> str:
    return text if style.precision is None else text[: style.precision]


def _string(text: str, value: Any, verb: str, style: _Style) -> str:
    if verb in "xX":
        return _hexadecimal(text, verb, style)
    if verb == "q" or (verb == "v" and style.go_syntax):
        text = _cut(text, style)
        if style.sharp and "`" not in text and all(c == "\t" or (c.isprintable() and c != "\ufeff") for c in text):
            return _padded(f"`{text}`", style)
        return _padded(quote(text, ascii_only=style.plus), style)
    return _padded(_cut(text, style), style) if verb in "sv" else _bad_verb(value, verb, style)


def _hexadecimal(text: str, verb: str, style: _Style) -> str:
    raw = to_bytes(text)[: style.precision]
    prefix = "0x" if style.sharp else ""
    digits = (" " + prefix).join(f"{byte:02x}" for byte in raw) if style.space else raw.hex()
    shown = prefix + digits if raw else ""
    return _padded(shown.upper() if verb == "X" else shown, style)


def _float(value: float, verb: str, style: _Style) -> str:
    if verb not in "vgGxXfFeE":
        return _bad_verb(value, verb, style)
    if not math.isfinite(value):
        return _not_finite(value, style)
    kind = {"v": "g", "F": "f"}.get(verb, verb)
    text = numerals.float_text(value, kind, style.precision)
    if style.sharp:
        text = _with_point(text, kind, style.precision)
    return _signed(text, style)


def _not_finite(value: float, style: _Style) -> str:
    text = numerals.not_finite(value)
    if text == "NaN":
        text = "+NaN" if style.plus else " NaN" if style.space else text
    elif style.space and not style.plus:
        text = text.replace("+", " ")
    return _padded(text, replace(style, zero=False))


def _signed(text: str, style: _Style) -> str:
    """Sign and padding of a number's text: zeros go between the sign and the digits."""
    negative = text.startswith("-")
    sign = "-" if negative else "+" if style.plus else " " if style.space else ""
    digits = text[1:] if negative else text
    if style.zero and sign:
        return sign + digits.rjust(style.width - 1, "0")
    return _padded(sign + digits, style)


def _with_point(text: str, verb: str, precision: int | None) -> str:
    """`%#g`: a decimal point always, and the zeros that %g takes away."""
    number, mark, tail = text, "", ""
    for exponent in "pP" if verb in "xX" else "eE":
        if exponent in text:
            number, mark, tail = text.partition(exponent)
    wanted = (6 if precision is None else precision) if verb in "gGx" else 0
    digits = number.lstrip("-").replace(".", "", 1)
    significant = len(digits.lstrip("0")) + (digits == "0")
    point = "" if "." in number else "."
    return number + point + "0" * max(0, wanted - significant) + mark + tail


def _integer(value: int, verb: str, style: _Style) -> str:
    if verb in "cqU":
        return _character(value, verb, style)
    base = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}.get(verb)
    if base is None:
        return _bad_verb(value, verb, style)
    if style.go_syntax and isinstance(value, Byte):
        return f"{value:#x}"
    if style.precision == 0 and value == 0:
        return " " * style.width
    digits = format(abs(value), base).rjust(_least_digits(value, style), "0")
    if verb == "O":
        digits = "0o" + digits
    elif style.sharp:
        digits = {"b": "0b", "x": "0x", "X": "0X", "o": "" if digits[0] == "0" else "0"}.get(base, "") + digits
    sign = "-" if value < 0 else "+" if style.plus else " " if style.space else ""
    return _padded(sign + digits, replace(style, zero=False) if style.zero else style)


def _least_digits(value: int, style: _Style) -> int:
    if style.precision is not None:
        return style.precision
    if not style.zero:
        return 0
    return style.width - (1 if value < 0 or style.plus or style.space else 0)


def _character(value: int, verb: str, style: _Style) -> str:
    is_valid = 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF
    character = chr(value) if is_valid else "\ufffd"
    if verb == "c":
        return _padded(character, style)
    if verb == "q":
        return _padded(quote(character, mark="'", ascii_only=style.plus), style)
    unsigned = value & 0xFFFF_FFFF_FFFF_FFFF
    text = f"U+{unsigned:0{max(4, style.precision or 4)}X}"
    if style.sharp and is_valid and character.isprintable():
        text += f" '{character}'"
    return _padded(text, replace(style, zero=False))


def _composite(value: Any, verb: str, style: _Style) -> str:
    if isinstance(value, Struct):
        return _struct(value, verb, style)
    if isinstance(value, Vector):
        items = limited((_struct(item, verb, style) for item in value), joint=1)
        return _joined(type_name(value), "[", items, "]", style)
    pairs = (f"{_format(key, verb, style)}:{_element(value[key], verb, style)}" for key in sorted(value, key=to_bytes))
    return _joined(type_name(value), "map[", limited(pairs, joint=1), "]", style)


def _struct(value: Struct, verb: str, style: _Style) -> str:
    fields = (
        (f"{name}:" if style.with_names or style.go_syntax else "") + _element(item, verb, style)
        for name, item in value.fields.items()
    )
    is_pointer = value.type.startswith("*")
    text = _joined(value.type.lstrip("*"), "{", limited(fields, joint=1), "}", style)
    return "&" + text if is_pointer else text


def _joined(name: str, opening: str, items: list[str], closing: str, style: _Style) -> str:
    if style.go_syntax:
        return f"{name}{{{', '.join(items)}}}"
    return f"{opening}{' '.join(items)}{closing}"


def _element(value: Any, verb: str, style: _Style) -> str:
    if value is None and style.go_syntax:
        return "interface {}(nil)"
    return _format(value, verb, style)
