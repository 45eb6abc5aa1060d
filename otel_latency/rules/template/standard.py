"""The functions that Go gives to every template: comparison, indexing, printing, escaping.

`and` and `or` stand here for their parameters only; the executor answers them, as they may leave operands out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus

from otel_latency.rules.template.printf import default_text, sprint, sprintf, sprintln
from otel_latency.rules.template.quoting import escape_html, escape_javascript, from_bytes, to_bytes
from otel_latency.rules.template.values import (
    ANY,
    Arguments,
    Byte,
    Context,
    Fault,
    Function,
    Struct,
    is_true,
    type_name,
)

_BAD_TYPE = "invalid type for comparison"


def _kind(value: Any) -> str | None:
    """What Go calls a basic kind; None for maps, structs, pointers and nil."""
    for kind, name in ((bool, "bool"), (int, "int"), (float, "float"), (str, "string")):
        if isinstance(value, kind):
            return name
    return None


def _incompatible(context: Context, left: Any, right: Any) -> Fault:
    detail = f": {type_name(left)} and {type_name(right)}" if context.semantics >= 3 else ""
    return Fault(f"incompatible types for comparison{detail}")


def _equal(context: Context, left: Any, *others: Any) -> bool:
    if not others:
        raise Fault("missing argument for comparison")
    return any(_is_same(context, left, other) for other in others)


def _is_same(context: Context, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    kind = _kind(left)
    if kind != _kind(right):
        raise _incompatible(context, left, right)
    if kind is not None:
        return bool(left == right)
    if isinstance(left, dict) != isinstance(right, dict) or isinstance(left, list) != isinstance(right, list):
        shown = f"{default_text(left)}: {type_name(left)}, {type_name(right)}: {default_text(right)}"
        raise Fault(f"non-comparable types {shown}")
    if isinstance(right, dict | list) or (isinstance(right, Struct) and not right.type.startswith("*")):
        raise Fault(f"non-comparable type {default_text(right)}: {type_name(right)}")
    return left is right


def _less(context: Context, left: Any, right: Any) -> bool:
    kind = _kind(left)
    if kind is None or _kind(right) is None:
        raise Fault(_BAD_TYPE)
    if kind != _kind(right):
        raise _incompatible(context, left, right)
    if kind == "bool":
        raise Fault(_BAD_TYPE)
    return bool(to_bytes(left) < to_bytes(right) if kind == "string" else left < right)


def _less_or_equal(context: Context, left: Any, right: Any) -> bool:
    return _less(context, left, right) or _equal(context, left, right)


def _index(item: Any, *indexes: Any) -> Any:
    if item is None:
        raise Fault("index of untyped nil")
    for index in indexes:
        if item is None:
            raise Fault("index of nil pointer")
        item = _indexed(item, index)
    return item


def _indexed(item: Any, index: Any) -> Any:
    if isinstance(item, dict):
        if index is None:
            raise Fault("value is nil; should be of type string")
        if type(index) is not str:
            raise Fault(f"value has type {type_name(index)}; should be string")
        return item.get(index, None if isinstance(item, Arguments) else "")
    if isinstance(item, str):
        raw = to_bytes(item)
        return Byte(raw[_place(index, len(raw), "string")])
    if isinstance(item, list):
        return item[_place(index, len(item), "slice")]
    raise Fault(f"can't index item of type {type_name(item).lstrip('*')}")


def _place(index: Any, size: int, kind: str) -> int:
    position = _position(index, size)
    if position == size:
        raise Fault(f"reflect: {kind} index out of range")
    return position


def _position(index: Any, last: int) -> int:
    if index is None:
        raise Fault("cannot index slice/array with nil")
    if not isinstance(index, int) or isinstance(index, bool):
        raise Fault(f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index <= last:
        raise Fault(f"index out of range: {int(index)}")
    return int(index)


def _slice(item: Any, *indexes: Any) -> Any:
    if item is None:
        raise Fault("slice of untyped nil")
    if len(indexes) > 3:
        raise Fault(f"too many slice indexes: {len(indexes)}")
    if not isinstance(item, str | list):
        raise Fault(f"can't slice item of type {type_name(item).lstrip('*')}")
    if isinstance(item, str) and len(indexes) == 3:
        raise Fault("cannot 3-index slice a string")
    raw = to_bytes(item) if isinstance(item, str) else item
    places = [_position(index, len(raw)) for index in indexes]
    start, end, *capacity = places + [0, len(raw)][len(places) :]
    for low, high in ((start, end), *((end, high) for high in capacity)):
        if low > high:
            raise Fault(f"invalid slice index: {low} > {high}")
    return from_bytes(raw[start:end]) if isinstance(raw, bytes) else type(item)(raw[start:end])


def _length(item: Any) -> int:
    if item is None:
        raise Fault("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(item, str):
        return len(to_bytes(item))
    if isinstance(item, dict | list):
        return len(item)
    raise Fault(f"len of type {type_name(item).lstrip('*')}")


def _call(callee: Any, *_: Any) -> Any:
    """Nothing in a rule's data is a function."""
    raise Fault("call of nil" if callee is None else f"non-function of type {type_name(callee)}")


def text_of(values: Sequence[Any]) -> str:
    """Operands as the escaping functions see them: as printed by themselves."""
    return sprint([shown(value) for value in values])


def shown(value: Any) -> Any:
    """What an action prints of *value*: what a pointer points to, and words for nothing."""
    if value is None:
        return "<no value>"
    if type(value) is Struct and value.type.startswith("*"):
        return Struct(value.type.lstrip("*"), value.fields)
    return value


STANDARD: Mapping[str, Function] = MappingProxyType(
    {
        "and": Function(is_true, (ANY,), ANY),
        "or": Function(is_true, (ANY,), ANY),
        "not": Function(lambda value: not is_true(value), (ANY,)),
        "eq": Function(_equal, (ANY,), ANY, needs_context=True),
        "ne": Function(lambda context, left, right: not _equal(context, left, right), (ANY, ANY), needs_context=True),
        "lt": Function(_less, (ANY, ANY), needs_context=True),
        "le": Function(_less_or_equal, (ANY, ANY), needs_context=True),
        # As in Go, the negation of the other: true for NaN.
        "gt": Function(lambda *operands: not _less_or_equal(*operands), (ANY, ANY), needs_context=True),
        "ge": Function(lambda *operands: not _less(*operands), (ANY, ANY), needs_context=True),
        "index": Function(_index, (ANY,), ANY),
        "slice": Function(_slice, (ANY,), ANY),
        "len": Function(_length, (ANY,)),
        "call": Function(_call, (ANY,), ANY),
        "print": Function(lambda *values: sprint(values), (), ANY),
        "println": Function(lambda *values: sprintln(values), (), ANY),
        "printf": Function(lambda layout, *values: sprintf(layout, values), ("string",), ANY),
        "html": Function(lambda *values: escape_html(text_of(values)), (), ANY),
        "js": Function(lambda *values: escape_javascript(text_of(values)), (), ANY),
        "urlquery": Function(lambda *values: quote_plus(to_bytes(text_of(values))), (), ANY),
    }
)
