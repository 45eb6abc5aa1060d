"""Ended spans as the body of an OTLP request, in the meaning of the SDK's encoder and for a tenth of its time.

Most attributes of a program's spans come again and again: the bytes of a key with its value, of a name with its kind,
of an event's name are made once and remembered. A number of a new value costs a join, an unknown text its encoding.

What protobuf cannot hold costs itself alone: an attribute of another type, or an integer of more than 64 bits, is left
out and counted; half of a surrogate pair becomes a question mark.

A span becomes a row of bytes as it ends, in the thread that ends it, and rows become a request in another one. So none
of its objects lives on in a queue: each that does brings the garbage collector's next look through the whole heap of
the process nearer, a tenth of a second in which nothing else runs.

Memory: `MAX_KNOWN` entries of each kind, of short texts only. Cost: about 4 us a span of seven attributes.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status

from otel_latency.instrument.guard import guard

MAX_KNOWN: Final = 1024
MAX_LENGTH: Final = 64
"""Characters of a text that is remembered."""

_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_WORD: Final = (1 << 64) - 1
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(128))
_double: Final = struct.Struct("<d").pack
_fixed64: Final = struct.Struct("<Q").pack
_times: Final = struct.Struct("<BQBQ").pack
_flags: Final = struct.Struct("<HI").pack


def _varint(number: int) -> bytes:
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _tag(field: int) -> bytes:
    """Of a field that begins with its length: text, bytes, a message."""
    return _varint(field << 3 | 2)


def _sized(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def _text(tag: bytes, text: str | None) -> bytes:
    """Nothing for an empty text: that is the default."""
    return _sized(tag, text.encode("utf-8", "replace")) if text else b""


def _count(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number) if number else b""


_1, _2, _3, _4, _5, _6, _7, _9, _11, _13, _15 = map(_tag, (1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15))


def _value(value: Any) -> bytes:
    """An AnyValue; what it cannot be is an error."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return _sized(_1, value.encode("utf-8", "replace"))
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError
        return b"\x18" + _varint(value & _WORD)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return _sized(_7, value)
    if isinstance(value, Sequence):
        return _sized(_5, b"".join(_sized(_1, _value(each)) for each in value))
    if isinstance(value, Mapping):
        return _sized(_6, b"".join(_sized(_1, _pair(str(key), each)) for key, each in value.items()))
    raise TypeError


def _pair(key: str, value: Any) -> bytes:
    """A KeyValue."""
    return _text(_1, key) + _sized(_2, _value(value))


class _Attributes:
    """Attributes as the KeyValues of the field *tag*."""

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._known: dict[tuple[type, str, object], bytes] = {}
        self._heads: dict[str, bytes] = {}
        """What comes before a float, by key."""

    def __call__(self, attributes: Mapping[str, Any] | None) -> bytes:
        if not attributes:
            return b""
        known, heads = self._known, self._heads
        parts: list[bytes] = []
        for key, value in attributes.copy().items():  # type: ignore[attr-defined]  # BoundedAttributes: much quicker
            kind = type(value)
            if kind is float:
                head = heads.get(key)
                part = (head or self._head(key)) + _double(value)
            elif kind is str or kind is int or kind is bool:
                part = known.get((kind, key, value)) or self._new(key, value)
            else:
                part = self._encoded(key, value)
            parts.append(part)
        return b"".join(parts)

    def _head(self, key: str) -> bytes:
        _bound(self._heads)
        head = self._heads[key] = self._encoded(key, 0.0)[:-8]
        return head

    def _new(self, key: str, value: str | int) -> bytes:
        part = self._encoded(key, value)
        if len(part) <= MAX_LENGTH:
            _bound(self._known)
            self._known[type(value), key, value] = part
        return part

    def _encoded(self, key: str, value: object) -> bytes:
        try:
            return _sized(self._tag, _pair(key, value))
        except (TypeError, ValueError):
            guard.complain("encode", "an attribute was not sent: OTLP has no such value")
            return b""


def _bound(known: dict[Any, bytes]) -> None:
    """Forget everything rather than something: what comes often is back soon."""
    if len(known) >= MAX_KNOWN:
        known.clear()


Row = tuple[int, bytes]
"""Where a span belongs, and the span itself with the tag and the length that it has there."""


class SpanEncoder:
    """Encodes spans; what it remembers of one helps with the next."""

    def __init__(self) -> None:
        self._places: list[tuple[Resource, InstrumentationScope | None]] = []
        self._indexes: dict[tuple[int, int], int] = {}
        """Of places, by the ids of resource and scope, which are kept: the hash of a resource takes 15 us."""
        self._kept: list[tuple[Resource, InstrumentationScope | None]] = []
        self._known_places: dict[tuple[Resource, InstrumentationScope | None], int] = {}
        self._placing = threading.Lock()
        self._envelope_attributes = _Attributes(_1)
        self._scope_attributes = _Attributes(_3)
        self._attributes = _Attributes(_9)
        self._event_attributes = _Attributes(_3)
        self._link_attributes = _Attributes(_4)
        self._names: dict[tuple[str, int], bytes] = {}
        self._events: dict[str, tuple[bytes, bytes]] = {}

    def row(self, span: ReadableSpan) -> Row:
        """*span*, by any thread."""
        resource, scope = span.resource, span.instrumentation_scope
        index = self._indexes.get((id(resource), id(scope)))
        return self._place(resource, scope) if index is None else index, self._span(span)

    def body(self, rows: Iterable[Row]) -> bytes:
        """An ExportTraceServiceRequest. Spans of one resource stay together, and within it those of one scope."""
        found: dict[int, list[bytes]] = {}
        for index, span in rows:
            found.setdefault(index, []).append(span)
        batches: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        for index, spans in found.items():
            resource, scope = self._places[index]
            batches.setdefault(resource, {}).setdefault(scope, []).extend(spans)
        return b"".join(_sized(_1, self._batch(resource, scopes)) for resource, scopes in batches.items())

    def _place(self, resource: Resource, scope: InstrumentationScope | None) -> int:
        """The index of a place that is new, or equal to one that is known: some make a tracer for every span."""
        place = resource, scope
        with self._placing:
            index = self._known_places.setdefault(place, len(self._places))
            if index == len(self._places):
                self._places.append(place)
            if len(self._kept) < MAX_KNOWN:
                self._kept.append(place)
                self._indexes[id(resource), id(scope)] = index
        return index

    def _batch(self, resource: Resource, scopes: Mapping[InstrumentationScope | None, list[bytes]]) -> bytes:
        """ResourceSpans."""
        return b"".join(
            (
                _sized(_1, self._envelope_attributes(resource.attributes)),
                *(_sized(_2, self._scope(scope, spans)) for scope, spans in scopes.items()),
                _text(_3, resource.schema_url),
            )
        )

    def _scope(self, scope: InstrumentationScope | None, spans: list[bytes]) -> bytes:
        """ScopeSpans."""
        head = b""
        if scope is not None:
            head = _text(_1, scope.name) + _text(_2, scope.version) + self._scope_attributes(scope.attributes)
        return b"".join((_sized(_1, head), *spans, _text(_3, scope.schema_url if scope else None)))

    def _span(self, span: ReadableSpan) -> bytes:
        context, parent = span.get_span_context(), span.parent
        assert context is not None
        kind = span.kind.value
        # Asked for lists that are empty, most of them, the SDK makes two copies and takes a lock.
        events = span.events if getattr(span, "_events", True) else ()
        links = span.links if getattr(span, "_links", True) else ()
        parts = (
            b"\x0a\x10",
            context.trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            _text(_3, context.trace_state.to_header()) if context.trace_state else b"",
            b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
            self._names.get((span.name, kind)) or self._name(span.name, kind),
            _times(0x39, span.start_time or 0, 0x41, span.end_time or 0),
            self._attributes(span.attributes),
            _count(10, span.dropped_attributes),
            b"".join(map(self._event, events)) if events else b"",
            _count(12, span.dropped_events),
            b"".join(map(self._link, links)) if links else b"",
            _count(14, span.dropped_links),
            b"\x7a\x00" if span.status.is_unset else _status(span.status),
            _flags(0x0185, _remoteness(parent)),
        )
        return _sized(_2, b"".join(parts))

    def _name(self, name: str, kind: int) -> bytes:
        encoded = _text(_5, name) + _count(6, kind + 1)
        if len(name) <= MAX_LENGTH:
            _bound(self._names)
            self._names[name, kind] = encoded
        return encoded

    def _event(self, event: Event) -> bytes:
        name, attributes = event.name, event.attributes
        start, end = self._events.get(name) or self._event_name(name)
        if attributes or event.dropped_attributes:
            more = self._event_attributes(attributes) + _count(4, event.dropped_attributes)
            return _sized(_11, b"\x09" + _fixed64(event.timestamp) + end + more)
        return start + _fixed64(event.timestamp) + end

    def _event_name(self, name: str) -> tuple[bytes, bytes]:
        """What comes before the time of an event without attributes, and after."""
        end = _text(_2, name)
        parts = _11 + _varint(9 + len(end)) + b"\x09", end
        if len(name) <= MAX_LENGTH:
            _bound(self._events)  # type: ignore[arg-type]
            self._events[name] = parts
        return parts

    def _link(self, link: Link) -> bytes:
        context = link.context
        return _sized(
            _13,
            b"".join(
                (
                    b"\x0a\x10" + context.trace_id.to_bytes(16, "big"),
                    b"\x12\x08" + context.span_id.to_bytes(8, "big"),
                    self._link_attributes(link.attributes),
                    _count(5, link.dropped_attributes),
                    b"\x35" + _remoteness(context).to_bytes(4, "little"),
                )
            ),
        )


def _remoteness(context: SpanContext | None) -> int:
    """Flags that say whether *context* came from another process."""
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


def _status(status: Status) -> bytes:
    return _sized(_15, _text(_2, status.description) + _count(3, status.status_code.value))
