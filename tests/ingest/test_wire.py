"""The shared half of the decoders: framing, quotas and plain values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest.wire import (
    FIXED64,
    LENGTH,
    MAX_ATTRIBUTES,
    VARINT,
    ItemError,
    ProtoWalk,
    Quota,
    attributes,
    fields,
    from_proto,
    plain,
)

BROKEN = {
    "a number that never ends": b"\x08" + b"\xff" * 11,
    "a number that is cut off": b"\x08\x80",
    "a length beyond the message": b"\x0a\x05ab",
    "a cut fixed64": b"\x09\x00\x00",
    "field number zero": b"\x00\x00",
    "a field number over 2^29": b"\x80\x80\x80\x80\x80\x01\x00",
    "a group": b"\x0b\x0c",
    "an unknown wire type": b"\x0e\x00",
}


def test_fields_of_a_message():
    """Every field comes out in order with its number, its wire type and its value."""
    span = Span(name="chat", kind=3, start_time_unix_nano=1 << 63)
    expected = [(5, LENGTH, b"chat"), (6, VARINT, 3), (7, FIXED64, 1 << 63)]
    assert expected == list(fields(span.SerializeToString()))


@pytest.mark.parametrize("message", BROKEN.values(), ids=BROKEN)
def test_broken_framing(message):
    """Bytes that are no protobuf message raise ValueError instead of yielding something."""
    with pytest.raises(ValueError):
        list(fields(message))


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_fields_never_overrun(message):
    """Whatever the bytes, what comes out together is no longer than what went in."""
    lengths = 0
    try:
        for _, wire_type, value in fields(memoryview(message)):
            lengths += len(value) if wire_type == LENGTH else 1
    except ValueError:
        return
    assert lengths <= len(message)


def test_quota():
    """A quota allows exactly its limit and then names it."""
    quota = Quota(2, "spans")
    quota.take()
    quota.take()
    with pytest.raises(BodyTooLarge, match="more than 2 spans in one request"):
        quota.take()


def test_walk_turns_broken_framing_into_a_decode_error():
    """What a walk cannot read makes the request unreadable."""
    with pytest.raises(DecodeError, match="not an OTLP message"):
        list(ProtoWalk().items(b"\x0a\x05ab"))


def test_walk_finds_the_resource_behind_its_items():
    """Protobuf allows any order of fields: a resource that comes last still counts for all items."""
    scope_items = b"\x12\x04" + b"\x12\x02hi"
    resource = b"\x0a\x00"
    body = bytes([0x0A, len(scope_items + resource)]) + scope_items + resource
    ((resource_found, item),) = ProtoWalk().items(body)
    assert ("unknown_service", b"hi") == (resource_found.service, bytes(item))


def test_scopes_share_the_attributes_of_their_resource():
    """A resource is decoded once: a large one under thousands of scopes would take hundreds of MiB otherwise."""
    request = ExportLogsServiceRequest()
    below = request.resource_logs.add()
    below.resource.attributes.add(key="large").value.string_value = "x" * 4000
    for number in range(3):
        envelope = below.scope_logs.add()
        envelope.scope.name = f"scope {number}"
        envelope.log_records.add()
    sources = [source for source, _ in ProtoWalk().items(request.SerializeToString())]
    assert ["scope 0", "scope 1", "scope 2"] == [source.scope_name for source in sources]
    assert 1 == len({id(source.attributes) for source in sources})


def test_item_that_is_too_large_is_not_parsed():
    """64 KiB is the most that one item may have, whatever is in it."""
    with pytest.raises(ItemError, match="too_large"):
        from_proto(Span, b"\x00" * 65_537)


def _nested(depth: int) -> AnyValue:
    value = AnyValue(string_value="core")
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


def _levels(value: object) -> int:
    return 1 + _levels(value[0]) if isinstance(value, list) else 0


def test_values():
    """Every kind of attribute value becomes the Python value that it stands for."""
    pairs = [
        KeyValue(key="text", value=AnyValue(string_value="a\nb")),
        KeyValue(key="truth", value=AnyValue(bool_value=False)),
        KeyValue(key="whole", value=AnyValue(int_value=-1)),
        KeyValue(key="real", value=AnyValue(double_value=0.0)),
        KeyValue(key="raw", value=AnyValue(bytes_value=b"\x00")),
        KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()]))),
        KeyValue(
            key="map",
            value=AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(bool_value=True))])),
        ),
        KeyValue(key="nothing"),
    ]
    expected = {
        "text": "a b",
        "truth": False,
        "whole": -1,
        "real": 0.0,
        "raw": b"\x00",
        "list": [1, None],
        "map": {"k": True},
        "nothing": None,
    }
    assert expected == attributes(pairs)


@pytest.mark.parametrize(("depth", "levels", "end"), [(15, 15, "core"), (16, 15, "…"), (40, 15, "…")])
def test_deep_values_are_cut_off(depth, levels, end):
    """Below 15 nested lists nothing is built any more: an ellipsis stands for the rest."""
    value = plain(_nested(depth))
    found = _levels(value)
    for _ in range(found):
        (value,) = value
    assert (levels, end) == (found, value)


def test_only_the_first_attributes_are_kept():
    """An item keeps its first 128 attributes."""
    pairs = [KeyValue(key=str(i), value=AnyValue(int_value=i)) for i in range(200)]
    assert list(range(MAX_ATTRIBUTES)) == list(attributes(pairs).values())


def test_long_text_is_cut():
    """Text is cut to the limit, in characters."""
    assert {"k": "é" * 200} == attributes([KeyValue(key="k", value=AnyValue(string_value="é" * 9000))], 200)
