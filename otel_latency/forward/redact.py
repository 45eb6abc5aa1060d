"""Content taken out of protobuf requests without decoding them: what stays is what came, byte for byte.

The walk follows the envelopes of OTLP down to the attributes, whose keys decide. Where an attribute goes, the lengths
of the messages around it are written anew, and nothing else; unknown fields stay. A message that cannot be walked
goes whole, for nobody can say what it hides.

A log record that is a content event (see `content`) keeps no body. Of a span event that is one only attributes under
`gen_ai.` stay, of those that are not denied.

Cost, for a request of 512 spans of 12 attributes: 0.05 ms compiled, 40 ms in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, Protocol, Union

from otel_latency.forward import content
from otel_latency.forward.content import Denied
from otel_latency.forward.protobuf import LENGTH, Field, encode_varint, fields
from otel_latency.records import Signal


class Redactor(Protocol):
    """Both implementations keep to this, byte for byte."""

    def redact(self, body: bytes, signal: Signal, /) -> bytes:
        """The request without content; *body* itself where there is none. Raises ValueError when it is no message."""


class Part(Enum):
    """Fields that are looked at, apart from messages to walk."""

    ATTRIBUTE = "attribute"
    EVENT_ATTRIBUTE = "event attribute"
    """Has to be under `gen_ai.` as well, where the span event is a content event."""
    BODY = "body"
    """Goes where the log record is a content event."""
    NAME = "name"
    """Says whether it is one."""


Shape = Mapping[int, Union["Shape", Part]]
"""What to look at in a message: field number -> what it holds."""

_RESOURCE: Final[Shape] = {1: Part.ATTRIBUTE}
_SCOPE: Final[Shape] = {3: Part.ATTRIBUTE}
_EXEMPLAR: Final[Shape] = {7: Part.ATTRIBUTE}
_NUMBERS: Final[Shape] = {1: {7: Part.ATTRIBUTE, 5: _EXEMPLAR}}


def _request(item: Shape) -> Shape:
    return {1: {1: _RESOURCE, 2: {1: _SCOPE, 2: item}}}


_SHAPES: Final[Mapping[Signal, Shape]] = {
    Signal.TRACES: _request(
        {
            9: Part.ATTRIBUTE,
            11: {2: Part.NAME, 3: Part.EVENT_ATTRIBUTE},  # event
            13: {4: Part.ATTRIBUTE},  # link
        }
    ),
    Signal.METRICS: _request(
        {
            5: _NUMBERS,  # gauge
            7: _NUMBERS,  # sum
            9: {1: {9: Part.ATTRIBUTE, 8: _EXEMPLAR}},  # histogram
            10: {1: {1: Part.ATTRIBUTE, 11: _EXEMPLAR}},  # exponential histogram
            11: {1: {7: Part.ATTRIBUTE}},  # summary
            12: Part.ATTRIBUTE,  # metadata
        }
    ),
    Signal.LOGS: _request({5: Part.BODY, 6: Part.ATTRIBUTE, 12: Part.NAME}),
}


class PythonRedactor:
    """The readable statement of the rules; also serves where no compiler was at hand."""

    def __init__(self, denied: Denied) -> None:
        self._denied = denied

    def redact(self, body: bytes, signal: Signal) -> bytes:
        """See `Redactor`."""
        shortened = self._without(body, 0, len(body), _SHAPES[signal])
        return body if shortened is None else shortened

    def _without(self, body: bytes, at: int, end: int, shape: Shape) -> bytes | None:
        """The message between two places as it is to be; None when it stays as it is. Raises ValueError."""
        found = [
            (field, shape[field.number])
            for field in fields(body, at, end)
            if field.wire_type == LENGTH and field.number in shape
        ]
        is_event = any(_names_content_event(body, field, part) for field, part in found)
        pieces: list[bytes] = []
        kept = at
        for field, part in found:
            replacement = self._replacement(body, field, part, is_event=is_event)
            if replacement is not None:
                pieces += (body[kept : field.tag_at], replacement)
                kept = field.end
        return b"".join((*pieces, body[kept:end])) if pieces else None

    def _replacement(self, body: bytes, field: Field, part: Shape | Part, *, is_event: bool) -> bytes | None:
        """What to write in place of a field; None when it stays as it is."""
        try:
            if isinstance(part, Part):
                return b"" if self._goes(body, field, part, is_event=is_event) else None
            inner = self._without(body, field.value_at, field.end, part)
        except ValueError:
            return b""
        return None if inner is None else body[field.tag_at : field.length_at] + encode_varint(len(inner)) + inner

    def _goes(self, body: bytes, field: Field, part: Part, *, is_event: bool) -> bool:
        if part is Part.NAME:
            return False
        if part is Part.BODY:
            return is_event
        # A KeyValue has one key; where there are more, readers may differ about which of them counts.
        keys = _values(body, field, 1)
        is_under_gen_ai = bool(keys) and all(key.startswith(content.KEPT_OF_EVENTS) for key in keys)
        if part is Part.EVENT_ATTRIBUTE and is_event and not is_under_gen_ai:
            return True
        return any(key in self._denied for key in keys)


def _names_content_event(body: bytes, field: Field, part: Shape | Part) -> bool:
    if part is Part.NAME:
        return body[field.value_at : field.end] in content.EVENTS
    return part is Part.ATTRIBUTE and _is_content_event_name(body, field)


def _is_content_event_name(body: bytes, attribute: Field) -> bool:
    """Whether it is the attribute by which SDKs told a log record's event name before there was a field for it."""
    try:
        if content.EVENT_NAME not in _values(body, attribute, 1):
            return False
        values = [field for field in fields(body, attribute.value_at, attribute.end) if field.number == 2]
        return any(text in content.EVENTS for value in values for text in _values(body, value, 1))
    except ValueError:
        return False  # it goes by itself


def _values(body: bytes, message: Field, number: int) -> list[bytes]:
    """What the fields of one number hold: bytes, text or messages."""
    if message.wire_type != LENGTH:
        return []
    return [
        body[field.value_at : field.end]
        for field in fields(body, message.value_at, message.end)
        if field.number == number and field.wire_type == LENGTH
    ]


def redactor(denied: Denied) -> Redactor:
    """The compiled one, where it could be built."""
    try:
        from otel_latency.forward._redact import CompiledRedactor
    except ImportError:
        return PythonRedactor(denied)
    return CompiledRedactor(
        list(denied.keys), list(denied.prefixes), list(content.EVENTS), content.EVENT_NAME, content.KEPT_OF_EVENTS
    )
