"""All functions that a rule's template may call: Go's, and those of Prometheus defined here.

Each takes Go values as `values` describes them; what it cannot do it says with a `Fault`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus, urlsplit

from otel_latency.errors import ExpressionError
from otel_latency.regex import Regex, compile_regex
from otel_latency.rules.template import numerals
from otel_latency.rules.template.instants import Duration, Instant
from otel_latency.rules.template.quoting import quote, to_bytes
from otel_latency.rules.template.standard import STANDARD
from otel_latency.rules.template.values import (
    ANY,
    SAMPLE,
    VECTOR,
    Arguments,
    Context,
    Fault,
    Function,
    Html,
    Struct,
    Vector,
    limited,
    sample,
    type_name,
)

_NANOSECONDS = {
    "y": 365 * 86_400 * 10**9,
    "w": 7 * 86_400 * 10**9,
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
}
_DURATION = re.compile("".join(rf"(?:([0-9]+){unit})?" for unit in _NANOSECONDS), re.ASCII)
_FLOAT = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity)|nan", re.ASCII | re.IGNORECASE
)
_HEX_FLOAT = re.compile(r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+", re.ASCII | re.IGNORECASE)
_NIL = "runtime error: invalid memory address or nil pointer dereference"


def _query(context: Context, expression: str) -> Vector:
    if context.query is None:
        raise Fault("there is nothing to query here")
    try:
        return Vector(sample(labels, value) for labels, value in context.query(expression))
    except Exception as error:
        # Whatever a query raises, the alert goes out and says so.
        raise Fault(str(error) or type(error).__name__) from error


def _first(vector: Vector | None) -> Struct:
    if not vector:
        raise Fault("first() called on vector with no elements")
    return vector[0]


def _label(name: str, found: Struct | None) -> str:
    if found is None:
        raise Fault(_NIL)
    return str(found.fields["Labels"].get(name, ""))


def _value(found: Struct | None) -> float:
    if found is None:
        raise Fault(_NIL)
    return float(found.fields["Value"])


def _sort_by_label(name: str, vector: Vector | None) -> Vector | None:
    # As in Prometheus, the vector itself is put in order: a variable that holds it sees the new order.
    if vector is not None:
        vector.sort(key=lambda found: to_bytes(_label(name, found)))
    return vector


def _args(*values: Any) -> Arguments:
    return Arguments((f"arg{position}", value) for position, value in enumerate(values))


def _regex(pattern: str) -> Regex:
    try:
        return compile_regex(pattern, dot_all=False)
    except ExpressionError as error:
        raise Fault(error.fact) from error


def _matches(pattern: str, text: str) -> bool:
    return _regex(pattern).occurs_in(text)


def _replace_all(pattern: str, replacement: str, text: str) -> str:
    try:
        regex = _regex(pattern)
    except Fault as fault:
        shown = quote(pattern) if "`" in pattern or not pattern.isprintable() else f"`{pattern}`"
        raise Fault(f"regexp: Compile({shown}): {fault}") from fault
    return "".join(limited(regex.replaced(text, replacement)))


def _title(text: str) -> str:
    """Go's strings.Title: what follows a character that cannot be in a word is made large."""
    previous = [" ", *text]
    return "".join(
        _one(character.upper(), character) if _separates(before) else character
        for before, character in zip(previous, text, strict=False)
    )


def _separates(character: str) -> bool:
    if character.isascii():
        return not (character.isalnum() or character == "_")
    return character.isspace()


def _one(changed: str, character: str) -> str:
    """Go changes case character by character; one that would become two stays."""
    return changed if len(changed) == 1 else character


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else "".join(_one(c.upper(), c) for c in text)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(c.lower()[0] for c in text)


def _split_host_port(text: str) -> tuple[str, str] | None:
    """Go's net.SplitHostPort; None where it has an error."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return None
    if text.startswith("["):
        if not host.endswith("]"):
            return None
        host = host[1:-1]
    elif ":" in host:
        return None
    return None if "[" in host + port or "]" in host + port else (host, port)


def _strip_port(text: str) -> str:
    parts = _split_host_port(text)
    return text if parts is None else parts[0]


def _strip_domain(text: str) -> str:
    host, port = _split_host_port(text) or (text, "")
    if _is_address(host):
        return text
    host = host.split(".")[0]
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def to_float(value: Any) -> float:
    """A number, or a text that Go's ParseFloat takes."""
    if isinstance(value, float):
        return value
    if type(value) is int:
        return float(value)
    if type(value) is str:
        return _parsed_float(value)
    raise Fault(f"can't convert {'<nil>' if value is None else type_name(value)} to float")


def _parsed_float(text: str) -> float:
    is_hex = _HEX_FLOAT.fullmatch(text)
    if not (is_hex or _FLOAT.fullmatch(text)):
        raise Fault(f"strconv.ParseFloat: parsing {quote(text)}: invalid syntax")
    try:
        number = float.fromhex(text) if is_hex else float(text)
    except OverflowError:
        number = math.inf
    if math.isinf(number) and "n" not in text.lower():
        raise Fault(f"strconv.ParseFloat: parsing {quote(text)}: value out of range")
    return number


def _instant(seconds: float) -> Instant:
    if not math.isfinite(seconds):
        raise Fault("value is NaN or Inf")
    try:
        return Instant.at(seconds)
    except OverflowError:
        fact = "cannot be represented as a nanoseconds timestamp since it overflows int64"
        raise Fault(f"{numerals.shortest(seconds)} {fact}") from None


def _humanize_timestamp(value: Any) -> str:
    seconds = to_float(value)
    return str(_instant(seconds)) if math.isfinite(seconds) else numerals.not_finite(seconds)


def _parse_duration(text: str) -> float:
    if text == "":
        raise Fault("empty duration string")
    match = _DURATION.fullmatch(text)
    if text != "0" and not match:
        raise Fault(f"not a valid duration string: {quote(text)}")
    amounts = match.groups(default="0") if match else ()
    nanoseconds = sum(int(amount[:19]) * unit for amount, unit in zip(amounts, _NANOSECONDS.values(), strict=False))
    if nanoseconds >= 1 << 63 or any(len(amount) > 19 for amount in amounts):
        raise Fault("duration out of range")
    return nanoseconds / 1e9


def _path_prefix(context: Context) -> str:
    try:
        return urlsplit(context.external_url).path
    except ValueError as error:
        raise Fault(f"the external URL is none: {error}") from error


def _now(context: Context) -> float:
    if context.now is None:
        raise Fault("the time is not known here")
    return context.now


def _humanizer(humanize: Callable[[float], str]) -> Function:
    return Function(lambda value: humanize(to_float(value)), (ANY,))


def _escaped(text: str) -> str:
    return quote_plus(to_bytes(text))


_PROMETHEUS: Mapping[str, Function] = {
    "query": Function(_query, ("string",), needs_context=True),
    "first": Function(_first, (VECTOR,)),
    "label": Function(_label, ("string", SAMPLE)),
    "value": Function(_value, (SAMPLE,)),
    "strvalue": Function(lambda found: _label("__value__", found), (SAMPLE,)),
    "sortByLabel": Function(_sort_by_label, ("string", VECTOR)),
    "args": Function(_args, (), ANY),
    "match": Function(_matches, ("string", "string")),
    "reReplaceAll": Function(_replace_all, ("string", "string", "string")),
    "safeHtml": Function(Html, ("string",)),
    "title": Function(_title, ("string",)),
    "toUpper": Function(_upper, ("string",)),
    "toLower": Function(_lower, ("string",)),
    "graphLink": Function(lambda text: f"/graph?g0.expr={_escaped(text)}&g0.tab=0", ("string",)),
    "tableLink": Function(lambda text: f"/graph?g0.expr={_escaped(text)}&g0.tab=1", ("string",)),
    "stripPort": Function(_strip_port, ("string",)),
    "stripDomain": Function(_strip_domain, ("string",)),
    "humanize": _humanizer(numerals.humanize),
    "humanize1024": _humanizer(numerals.humanize1024),
    "humanizeDuration": _humanizer(numerals.humanize_duration),
    "humanizePercentage": _humanizer(numerals.humanize_percentage),
    "humanizeTimestamp": Function(_humanize_timestamp, (ANY,)),
    "toTime": Function(lambda value: _instant(to_float(value)), (ANY,)),
    "parseDuration": Function(_parse_duration, ("string",)),
    "externalURL": Function(lambda context: context.external_url, needs_context=True),
    "pathPrefix": Function(_path_prefix, needs_context=True),
    "toDuration": Function(lambda value: Duration.of(to_float(value)), (ANY,), since=3),
    "now": Function(_now, needs_context=True, since=3),
    "urlQueryEscape": Function(_escaped, ("string",), since=3),
}

FUNCTIONS: Mapping[str, Function] = MappingProxyType({**STANDARD, **_PROMETHEUS})
