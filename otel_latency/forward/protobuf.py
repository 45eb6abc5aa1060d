"""Just enough of protobuf's wire format (https://protobuf.dev/programming-guides/encoding) to cut and to read.

Cost: 0.5 us per field walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_WIDTH: Final = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """Where in a message a field stands: its tag, the length where it has one, and its value."""

    number: int
    wire_type: int
    tag_at: int
    length_at: int
    value_at: int
    end: int


def fields(message: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields between two places. Raises ValueError where the bytes stop making sense."""
    while at < end:
        tag_at = at
        tag, at = varint(message, at, end)
        number, wire_type, length_at = tag >> 3, tag & 7, at
        if number == 0 or tag >> 32:
            raise ValueError("a field number is out of range")
        if wire_type == LENGTH:
            length, at = varint(message, at, end)
            value_at, at = at, at + length
        elif wire_type == VARINT:
            value_at = at
            _, at = varint(message, at, end)
        elif wire_type in _WIDTH:
            value_at, at = at, at + _WIDTH[wire_type]
        else:
            raise ValueError("groups are not used in OTLP")
        if at > end:
            raise ValueError("a field goes beyond its message")
        yield Field(number, wire_type, tag_at, length_at, value_at, at)


def varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and the place behind it. Raises ValueError when there is none."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= end:
            raise ValueError("a number goes beyond its message")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number is longer than 64 bits")


def encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def submessages(message: bytes, number: int) -> Iterator[bytes]:
    """The values of a field that holds bytes, text or messages. Raises ValueError."""
    for field in fields(message, 0, len(message)):
        if field.number == number and field.wire_type == LENGTH:
            yield message[field.value_at : field.end]


def integer(message: bytes, number: int) -> int:
    """The last value of an int64 field, 0 when it is not there. Raises ValueError."""
    found = 0
    for field in fields(message, 0, len(message)):
        if field.number == number and field.wire_type == VARINT:
            found, _ = varint(message, field.value_at, field.end)
    return found - (1 << 64) if found >> 63 else found
