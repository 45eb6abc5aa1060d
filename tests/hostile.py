"""Requests made to hurt: (name, headers, body) of OTLP/HTTP trace requests, for whoever has to survive them.

None of them holds a span that may be counted, except `uint64 times` and `NaN`, which hold one good span each.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Request = tuple[str, dict[str, str], bytes]

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
MIB = 1 << 20


def corpus(bomb_size: int = 1 << 30) -> Iterator[Request]:
    """Everything below but the body of 100 MB, one request each."""
    yield structural_bomb()
    yield from compression_bombs(bomb_size)
    yield from bad_encodings()
    yield from deep_values()
    yield from broken_text()
    yield from extreme_numbers()
    yield from not_otlp()
    yield from many_scopes()


def structural_bomb() -> Request:
    """About 4 KiB of gzip that are 2 million empty spans: small at every size limit, 350 MiB as objects."""
    spans = b"\x12\x00" * (2 * MIB - 16)
    body = _field(1, _field(2, spans))
    return "structural bomb", {**PROTOBUF, "Content-Encoding": "gzip"}, gzip.compress(body)


def compression_bombs(size: int = 1 << 30) -> Iterator[Request]:
    """*size* zero bytes, and shapes that make a naive unpacker slow."""
    for encoding, body in (
        ("gzip", _zeros(size, zlib.compressobj(9, wbits=31))),
        ("deflate", _zeros(size, zlib.compressobj(9))),
        ("deflate", _zeros(size, zlib.compressobj(9, wbits=-15))),
        ("zstd", _zeros(size, zstandard.ZstdCompressor(write_content_size=False).compressobj())),
        ("zstd", _zeros(size, zstandard.ZstdCompressor().compressobj(size=size))),
        ("gzip", gzip.compress(b"") * 200_000),
    ):
        yield f"{encoding} bomb of {len(body)} bytes", {**PROTOBUF, "Content-Encoding": encoding}, body


def many_scopes(scopes: int = 6_000) -> Iterator[Request]:
    """One resource of 60 kB above thousands of scopes: as any signal, a gauge, an empty log, a span without ids."""
    resource = b"".join(_field(1, _field(1, b"k%d" % key) + _field(2, _field(1, b"v" * 480))) for key in range(120))
    point = _field(1, b"g") + _field(5, _field(1, b""))
    below = (_field(2, _field(1, _field(1, b"scope %d" % number)) + _field(2, point)) for number in range(scopes))
    yield "many scopes in protobuf", PROTOBUF, _field(1, _field(1, resource) + b"".join(below))
    described = {"attributes": [{"key": f"k{key}", "value": {"stringValue": "v" * 480}} for key in range(120)]}
    names = [{"name": f"scope {number}"} for number in range(scopes)]
    for signal, items in (("Spans", "spans"), ("Metrics", "metrics"), ("Logs", "logRecords")):
        below_it = [{"scope": scope, items: [{}]} for scope in names]
        body = {f"resource{signal}": [{"resource": described, f"scope{signal}": below_it}]}
        yield f"many scopes of {signal} in JSON", JSON, json.dumps(body).encode()


def bad_encodings() -> Iterator[Request]:
    """Encodings that are not taken, on a body that would be fine."""
    for encoding in ("gzip, gzip", "br", "gzip,identity"):
        yield f"encoding {encoding}", {**PROTOBUF, "Content-Encoding": encoding}, gzip.compress(b"")


def huge_body(size: int = 100 * MIB) -> Request:
    """Far over every limit, not compressed."""
    return "huge body", PROTOBUF, bytes(size)


def deep_values(depths: tuple[int, ...] = (17, 100, 1_000, 100_000)) -> Iterator[Request]:
    """An AnyValue that holds an AnyValue, and so on, on a span without ids."""
    for depth in depths:
        value = b""
        for _ in range(min(depth, 2_000)):  # each level copies the value: more would be slow to make, not to read
            value = _field(5, _field(1, value))
        body = _field(1, _field(2, _field(2, _field(9, _field(1, b"deep") + _field(2, value)))))
        yield f"{depth} levels of protobuf", PROTOBUF, body
        nested = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
        span = f'{{"attributes":[{{"key":"deep","value":{nested}}}]}}'
        body = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'
        yield f"{depth} levels of JSON", JSON, body.encode()
        yield f"{depth} brackets", JSON, b"[" * depth


def broken_text() -> Iterator[Request]:
    """Text that is no text."""
    yield "bad UTF-8 in protobuf", PROTOBUF, _field(1, _field(2, _field(2, _field(5, b"\xff\xfe\xc0"))))
    yield "bad UTF-8 in JSON", JSON, b'{"resourceSpans":"\xff"}'
    for name in ("\\ud800", "\\udfff\\ud800", "\\u0000", "a" * MIB):
        span = f'{{"traceId":"","spanId":"","name":"{name}"}}'
        body = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'
        yield f"span named {name[:12]}", JSON, body.encode()


def extreme_numbers() -> Iterator[Request]:
    """Times at the end of uint64, and attributes that are no numbers; the span is good otherwise."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes(range(16)), bytes(range(1, 9)), "extreme"
    span.start_time_unix_nano = span.end_time_unix_nano = 2**64 - 1
    yield "uint64 times", PROTOBUF, request.SerializeToString()
    for text, number in (("NaN", float("nan")), ("infinity", float("inf"))):
        attribute = span.attributes.add()
        attribute.key, attribute.value.double_value = text, number
    span.start_time_unix_nano, span.end_time_unix_nano = 1, 2
    yield "NaN", PROTOBUF, request.SerializeToString()
    yield "5,000 digits", JSON, b'{"resourceSpans":' + b"9" * 5_000 + b"}"


def not_otlp() -> Iterator[Request]:
    """Bodies that are something else."""
    for text in ("[]", '"x"', "1", "null x", '{"resourceSpans":[', '{"resourceSpans":{}}', "\ufeff{}", "<xml/>"):
        yield f"JSON {text!r}", JSON, text.encode()
    for body in (b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 1_000, b"\x00", b"\xff" * 4_096):
        yield f"protobuf {body[:4].hex()}", PROTOBUF, body
    nested = gzip.compress(gzip.compress(bytes(8 * MIB)))
    yield "gzip of gzip", {**PROTOBUF, "Content-Encoding": "gzip"}, nested
    yield "JSON sent as protobuf", PROTOBUF, json.dumps({"resourceSpans": []}).encode()


def _zeros(size: int, compressor: zlib._Compress | zstandard.ZstdCompressionObj) -> bytes:
    block = bytes(MIB)
    parts = [compressor.compress(block) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush()])


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
