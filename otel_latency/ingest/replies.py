"""What a receiver answers: Export*ServiceResponse and google.rpc.Status, in protobuf and in JSON.

Written by hand: five small messages are not worth 2 MiB of generated classes. A whole success is an empty message.
Texts are cut to `MAX_MESSAGE` bytes: whatever a sender makes us say, no reply is longer than 16 KiB, and a status
fits into the 8 KiB that gRPC clients take as metadata.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from otel_latency.errors import BodyTooLarge, OtelLatencyError, Overloaded
from otel_latency.ingest.intake import Outcome, Signal

MAX_MESSAGE: Final = 1024

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_REJECTED: Final = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}
_TYPE: Final = "type.googleapis.com/google.rpc."


class Code(IntEnum):
    """The numbers of google.rpc.Code that we answer with."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Status:
    """A refusal. With `retry_after` (seconds) the sender may try again; without it the request is refused for good."""

    code: Code
    message: str
    retry_after: float | None = None


def status_of(error: OtelLatencyError) -> Status:
    """How a refusal of ours is told to the sender."""
    if isinstance(error, Overloaded):
        return Status(Code.UNAVAILABLE, str(error), error.retry_after)
    if isinstance(error, BodyTooLarge):
        return Status(Code.RESOURCE_EXHAUSTED, str(error))
    return Status(Code.INVALID_ARGUMENT, str(error))


def encode_response(signal: Signal, outcome: Outcome, *, is_json: bool) -> bytes:
    """Export*ServiceResponse; `partial_success` stays unset unless something was rejected or is worth a warning."""
    message = shorten(outcome.message)
    if not outcome.rejected and not message:
        return b"{}" if is_json else b""
    if not is_json:
        return _bytes_field(1, _int_field(1, outcome.rejected) + _bytes_field(2, message.encode()))
    partial: dict[str, str] = {}
    if outcome.rejected:
        partial[_REJECTED[signal]] = str(outcome.rejected)  # protobuf's JSON writes an int64 as text
    if message:
        partial["errorMessage"] = message
    return _json({"partialSuccess": partial})


def encode_status(status: Status, *, is_json: bool) -> bytes:
    """google.rpc.Status, with BadRequest where the request is to blame and RetryInfo where it may be repeated."""
    message = shorten(status.message)
    if is_json:
        return _json({"code": int(status.code), "message": message, "details": _json_details(status, message)})
    encoded = _int_field(1, status.code) + _bytes_field(2, message.encode())
    if status.code is Code.INVALID_ARGUMENT:
        violation = _bytes_field(2, message.encode())
        encoded += _any("BadRequest", _bytes_field(1, violation))
    if status.retry_after is not None:
        encoded += _any("RetryInfo", encode_retry_info(status.retry_after))
    return encoded


def encode_retry_info(seconds: float) -> bytes:
    """google.rpc.RetryInfo in protobuf."""
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return _bytes_field(1, _int_field(1, whole) + _int_field(2, nanos))


def _json_details(status: Status, message: str) -> list[dict[str, object]]:
    details: list[dict[str, object]] = []
    if status.code is Code.INVALID_ARGUMENT:
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [{"description": message}]})
    if status.retry_after is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{status.retry_after:.9f}s"})
    return details


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def shorten(text: str) -> str:
    """At most `MAX_MESSAGE` bytes of valid UTF-8, cut between characters."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= MAX_MESSAGE:
        return encoded.decode()
    return encoded[: MAX_MESSAGE - 3].decode(errors="ignore") + "…"


def _any(name: str, value: bytes) -> bytes:
    """A google.protobuf.Any as one of Status.details."""
    return _bytes_field(3, _bytes_field(1, (_TYPE + name).encode()) + _bytes_field(2, value))


def _int_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value) if value else b""


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
