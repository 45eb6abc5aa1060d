"""The JSON encoding of OTLP, item by item: the counterpart of the protobuf half of `wire`.

Rules of https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: lowerCamelCase keys, unknown ones ignored,
ids in hexadecimal, 64-bit integers as text or numbers, null for the default. Beyond it we take enums by name, too.

Cost: 40 ns per bracket to check the nesting, then msgspec. Memory: `Raw` slices of the body, 40,000 at most.
"""

from __future__ import annotations

import codecs
import re
from base64 import b64decode
from binascii import unhexlify
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate, compress
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest.wire import MAX_ITEM_BYTES, MAX_ITEMS, ItemError, origin, with_scope
from otel_latency.records import Resource

MAX_JSON_DEPTH: Final = 100
MAX_JSON_COMMAS: Final = 600_000
"""Twice what 4 MiB of histograms have; a body of nothing but empty elements has more."""

T = TypeVar("T")


class Int64(int):
    """A 64-bit integer: a JSON number or a decimal string; null is 0."""


class Double(float):
    """A JSON number, or a string such as "NaN" or "-Infinity"; null is 0."""


class HexId(bytes):
    """A trace or span id in hexadecimal, of any case; null is no id. Its length is for the reader to check."""


class Base64(bytes):
    """Bytes in either base64 alphabet, padded or not."""


class Message(Struct, rename="camel"):
    """A protobuf message as OTLP/JSON spells it: unknown keys are ignored, a missing key or null is the default."""


class AnyValue(Message):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Int64 | None = None
    double_value: Double | None = None
    array_value: ArrayValue | None = None
    kvlist_value: KeyValueList | None = None
    bytes_value: Base64 | None = None


class ArrayValue(Message):
    values: list[AnyValue | None] | None = None


class KeyValue(Message):
    key: str | None = None
    value: AnyValue | None = None


class KeyValueList(Message):
    values: list[KeyValue] | None = None


class ResourceMessage(Message):
    attributes: list[KeyValue] | None = None


class ScopeMessage(Message):
    name: str | None = None
    version: str | None = None
    attributes: list[KeyValue] | None = None


def parse_json(body: bytes, request_type: type[T], *, arrays: Collection[int]) -> T:
    """A whole request as *request_type*, whose lists of items are `Raw`. *arrays*: see `check_json`.

    Raises DecodeError when it is not JSON in UTF-8 of that shape, or BodyTooLarge.
    """
    check_json(body, arrays)
    try:
        try:
            return _decode(request_type, body)
        except ValueError:
            return _decode(request_type, without_lone_surrogates(body))
    except (ValueError, OverflowError, RecursionError):
        # The decoder's own text may quote the body, which may hold what a user said.
        raise DecodeError("not an OTLP message: the JSON is malformed or a field has the wrong type") from None


def from_json(item_type: type[T], item: bytes | Raw, limit: int = MAX_ITEM_BYTES) -> T:
    """*item* as an *item_type*. Raises ItemError."""
    text = memoryview(item)
    if len(text) > limit:
        raise ItemError("too_large")
    try:
        return _decode(item_type, text)
    except (ValueError, OverflowError, RecursionError):
        raise ItemError("malformed") from None


def json_resource(resource: bytes | Raw) -> Resource | None:
    """What a JSON Resource says, still without a scope; None when it cannot be read."""
    try:
        return origin(from_json(ResourceMessage, _object(resource)))
    except ItemError:
        return None


def json_scope(resource: Resource | None, scope: bytes | Raw) -> Resource | None:
    """*resource* with a JSON InstrumentationScope, or None when one of the two cannot be read."""
    if resource is None:
        return None
    try:
        return with_scope(resource, from_json(ScopeMessage, _object(scope)))
    except ItemError:
        return None


def _object(message: bytes | Raw) -> bytes | Raw:
    return b"{}" if bytes(message) in (b"", b"null") else message


def check_json(body: bytes, arrays: Collection[int]) -> None:
    """Raises DecodeError for invalid UTF-8 and deep nesting, BodyTooLarge for very many elements.

    *arrays* are the depths at which the request's own arrays stand: their elements are what decoding will make objects
    of, so those are limited more tightly. The outermost bracket has depth 1.
    """
    limit = 2 * MAX_ITEMS
    kept = b"[]{}," if body.count(b",") > limit else b"[]{}"
    depth = elements = commas = 0
    for structure in _json_structure(body, kept):
        depths = list(accumulate(map(_STEPS.__getitem__, structure), initial=depth))
        if max(depths) > MAX_JSON_DEPTH:
            raise DecodeError(f"the JSON is nested deeper than {MAX_JSON_DEPTH} levels")
        depth = depths[-1]
        if len(kept) > 4:
            at_comma = Counter(compress(depths[1:], map(b",".__contains__, structure)))
            elements += sum(at_comma[array] for array in arrays)
            commas += at_comma.total()
        if elements > limit or commas > MAX_JSON_COMMAS:
            raise BodyTooLarge(f"more than {MAX_ITEMS} items in one request: send smaller batches")


_CHUNK = 65_536
_STEPS = {ord(character): step for character, step in zip("[]{},", (1, -1, 1, -1, 0), strict=True)}
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"?')


def _json_structure(body: bytes, kept: bytes) -> Iterator[bytes]:
    """Those bytes of the JSON outside strings that are in *kept*, by chunks, so that a bomb is never held whole."""
    dropped = bytes(set(range(256)) - set(kept))
    utf8 = codecs.getincrementaldecoder("utf-8")()
    start, open_string = 0, b""
    while start < len(body):
        end = start + _CHUNK
        chunk = body[start:end]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:  # an escape stays in one piece
            end += 1
            chunk = body[start:end]
        try:
            utf8.decode(chunk, final=end >= len(body))
        except UnicodeDecodeError:
            raise DecodeError("the JSON is not UTF-8") from None
        chunk = open_string + _ESCAPE.sub(b"", chunk)
        open_string = b'"' * (chunk.count(b'"') % 2)
        yield _STRING.sub(b"", chunk).translate(None, dropped)
        start = end


_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_SURROGATES = re.compile(rb"\\\\|" + _HIGH + _LOW + rb"|(" + _HIGH + rb"|" + _LOW + rb")")


def without_lone_surrogates(body: bytes) -> bytes | bytearray:
    r"""The same JSON with each `\ud800` that has no partner made `\ufffd`: such text could not be stored or shown.

    Raises ValueError when that would take much memory.
    """
    mended = bytearray()
    start = 0
    while start < len(body):
        quote = body.find(b'"', start + _CHUNK)  # behind a quote no escape is open
        end = len(body) if quote < 0 else quote + 1
        if end - start > 4 * _CHUNK:
            raise ValueError("a text is too long")
        mended += _SURROGATES.sub(lambda found: rb"\ufffd" if found[1] else found[0], body[start:end])
        start = end
    return mended


def ignored_keys_warning(body: bytes, known: Collection[str]) -> str:
    """What to tell the sender of a JSON request in which nothing was found: the keys that we do not know, if any.

    Only what looks like a field name is repeated, never a value.
    """
    names = (match[1].decode() for match in re.finditer(rb'"(\w{1,40})"\s*:', body[:_CHUNK]))
    unknown = list(dict.fromkeys(name for name in names if name not in known))[:8]
    if not unknown:
        return ""
    return f"nothing was taken from this request; ignored keys: {', '.join(unknown)} (OTLP/JSON uses lowerCamelCase)"


def json_keys(*types: type[Struct]) -> frozenset[str]:
    """Every key that the given messages know, and those of attributes, resources and scopes."""
    known: tuple[type[Struct], ...] = (
        *types,
        AnyValue,
        ArrayValue,
        KeyValue,
        KeyValueList,
        ResourceMessage,
        ScopeMessage,
    )
    return frozenset(key for message in known for key in message.__struct_encode_fields__)


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def _decode(message_type: type[T], text: bytes | bytearray | memoryview) -> T:
    decoder = _DECODERS.get(message_type)
    if decoder is None:
        decoder = _DECODERS[message_type] = msgspec.json.Decoder(message_type, dec_hook=_scalar)
    message: T = decoder.decode(text)
    return message


def _scalar(wanted: type, value: object) -> object:
    """The `dec_hook` for our four scalar types; *value* is any JSON value."""
    if value is None:
        return wanted()
    if not isinstance(value, _SPELLINGS[wanted]) or isinstance(value, bool):
        raise TypeError(f"not a {wanted.__name__}")
    return wanted(_READERS[wanted](value))


def _whole(value: float | str) -> int:
    number = int(value)
    if number != value and not isinstance(value, str):
        raise ValueError("not a whole number")
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError("longer than 64 bits")
    return number


def _base64(value: str) -> bytes:
    digits = value.rstrip("=")
    return b64decode(
        digits + "=" * (-len(digits) % 4), altchars="-_" if set(digits) & {"-", "_"} else None, validate=True
    )


_SPELLINGS: dict[type, Any] = {Int64: int | float | str, Double: int | float | str, HexId: str, Base64: str}
_READERS: dict[type, Callable[[Any], object]] = {Int64: _whole, Double: float, HexId: unhexlify, Base64: _base64}
