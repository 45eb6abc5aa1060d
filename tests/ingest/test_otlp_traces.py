"""Protobuf and JSON trace requests become the same rows, in our words."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest import otlp_traces
from otel_latency.ingest.otlp_traces import TraceDecoder

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))
IDS = {"traceId": "0123456789abcdef0123456789ABCDEF", "spanId": "0123456789abcdef"}


def golden_requests() -> list[tuple[bytes, bytes]]:
    """Every golden span as a request of its own, in both encodings."""
    requests = []
    for file in GOLDEN:
        for number, span in enumerate(json.loads(file.read_text())["spans"], 1):
            message = ExportTraceServiceRequest()
            scoped = message.resource_spans.add()
            put(scoped.resource.attributes, span["resource"])
            scope = scoped.scope_spans.add()
            scope.scope.name, scope.scope.version = span["scope"]["name"], span["scope"]["version"] or ""
            one = scope.spans.add(
                trace_id=b"t" * 16,
                span_id=number.to_bytes(8, "big"),
                parent_span_id=b"" if span["root"] else b"p" * 8,
                name=span["name"],
                kind=span["kind"],
                start_time_unix_nano=span["start_ns"],
                end_time_unix_nano=span["end_ns"],
            )
            one.status.code = span["status"]
            put(one.attributes, span["attributes"])
            for event in span["events"]:
                offset = round(event["seconds"] * 1e9)
                one.events.add(name=event["name"], time_unix_nano=span["start_ns"] + offset)
            requests.append((message.SerializeToString(), to_json(message)))
    return requests


def put(into, attributes) -> None:
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    for key, value in attributes.items():
        if type(value) in kinds:
            setattr(into.add(key=key).value, kinds[type(value)], value)


def to_json(message: ExportTraceServiceRequest) -> bytes:
    """OTLP's JSON of *message*: ids in hexadecimal, where protobuf's own JSON has base64."""
    tree = json_format.MessageToDict(message, use_integers_for_enums=True)
    for span in (s for r in tree["resourceSpans"] for sc in r["scopeSpans"] for s in sc["spans"]):
        for key, size in (("traceId", 16), ("spanId", 8), ("parentSpanId", 8)):
            if key in span:
                span[key] = {16: (b"t" * 16).hex(), 8: (b"p" * 8).hex()}[size]
        span["spanId"] = message.resource_spans[0].scope_spans[0].spans[0].span_id.hex()
    return json.dumps(tree).encode()


@pytest.mark.parametrize(("protobuf", "as_json"), golden_requests())
def test_every_dialect_reads_the_same_in_each_encoding_and_scanner(protobuf, as_json):
    """The golden spans of all dialects: compiled, in Python, and from JSON."""
    compiled, python = TraceDecoder(), TraceDecoder(compiled=False)
    results = [
        compiled.decode(protobuf, is_json=False),
        python.decode(protobuf, is_json=False),
        compiled.decode(as_json, is_json=True),
    ]
    shown = [
        [(repr(row[0]), *row[1:6], row[6] and dict(sorted(row[6].items()))) for row in rows] for rows, _ in results
    ]
    assert len(shown[0]) == 1
    assert shown[0] == shown[1] == shown[2]


def request(**span) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [IDS | {"name": "x"} | span]}]}]}).encode()


def decode(body: bytes):
    return TraceDecoder().decode(body, is_json=True)


@pytest.mark.parametrize(
    ("kind", "is_client"), [(3, True), ("SPAN_KIND_CLIENT", True), (1, False), (None, False), ("NONSENSE", False)]
)
def test_enums_may_be_numbers_or_names(kind, is_client):
    """The specification wants numbers; senders exist that write names."""
    attributes = [{"key": "gen_ai.request.model", "value": {"stringValue": "m"}}]
    ((profile, *_),), _ = decode(request(kind=kind, attributes=attributes))
    assert bool(profile.llm) is is_client


@pytest.mark.parametrize("times", [("1000", "3000"), (1000, 3000), ("1000", 3000)])
def test_times_may_be_text_or_numbers(times):
    """64-bit integers in JSON come either way."""
    ((_, _, _, _, start, end, _),), _ = decode(request(startTimeUnixNano=times[0], endTimeUnixNano=times[1]))
    assert (start, end) == (1000, 3000)


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"traceId": "00" * 16}, "invalid_trace_id"),
        ({"traceId": "ab"}, "invalid_trace_id"),
        ({"spanId": ""}, "invalid_span_id"),
        ({"traceId": "not hexadecimal"}, "malformed"),
        ({"startTimeUnixNano": "soon"}, "malformed"),
        ({"name": 5}, "malformed"),
        ({"name": "x" * 70_000}, "too_large"),
    ],
)
def test_a_bad_span_in_json_costs_one_span(span, reason):
    """As in protobuf."""
    tree = json.loads(request())
    tree["resourceSpans"][0]["scopeSpans"][0]["spans"].append(IDS | span)
    rows, rejected = decode(json.dumps(tree).encode())
    assert (len(rows), dict(rejected)) == (1, {reason: 1})


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b'{"resourceSpans": 5}', b"\xff", b"[" * 200 + b"]" * 200])
def test_a_request_that_is_none_is_refused(body):
    """With an error for the sender, whatever it is."""
    with pytest.raises(DecodeError):
        decode(body)


@pytest.mark.parametrize("is_json", [True, False])
def test_too_many_spans_are_told_apart_from_nonsense(is_json):
    """The sender can act on it: smaller batches."""
    spans = b",".join([b"{}"] * 20_001)
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}' % spans if is_json else b"\x0a\x00" * 30_000
    with pytest.raises(BodyTooLarge, match="send smaller batches"):
        TraceDecoder().decode(body, is_json=is_json)


def from_resources(*resources: dict[str, str], scopes: int = 1, is_json: bool = False) -> bytes:
    """A request with one span in each of the scopes below each of *resources*."""
    message = ExportTraceServiceRequest()
    for resource in resources:
        scoped = message.resource_spans.add()
        put(scoped.resource.attributes, resource)
        for number in range(scopes):
            scope = scoped.scope_spans.add()
            scope.scope.name = f"scope {number}"
            scope.spans.add(trace_id=b"t" * 16, span_id=(number + 1).to_bytes(8, "big"), name=f"span {number}")
    if not is_json:
        return message.SerializeToString()
    tree = json_format.MessageToDict(message)
    for span in (s for r in tree["resourceSpans"] for sc in r["scopeSpans"] for s in sc["spans"]):
        span |= IDS
    return json.dumps(tree).encode()


def services(decoder: TraceDecoder, body: bytes, is_json: bool) -> list[str]:
    rows, rejected = decoder.decode(body, is_json=is_json)
    assert not rejected
    return [profile.service for profile, *_ in rows]


ENCODINGS = {"compiled": (True, False), "Python": (False, False), "JSON": (True, True)}


@pytest.mark.parametrize(("compiled", "is_json"), ENCODINGS.values(), ids=ENCODINGS)
def test_origins_are_forgotten_before_they_fill_the_memory(monkeypatch, compiled, is_json):
    """Ever new resources cost a bounded amount, over many requests and within one, and no span is misread for it."""
    monkeypatch.setattr(otlp_traces, "MAX_ORIGINS", 10)
    decoder = TraceDecoder(compiled=compiled)
    resources = [{"service.name": f"service {number}"} for number in range(35)]
    expected = [resource["service.name"] for resource in resources]
    found = [services(decoder, from_resources(resource, is_json=is_json), is_json)[0] for resource in resources]
    assert expected == found
    assert len(decoder._origins) <= 10
    assert expected == services(decoder, from_resources(*resources, is_json=is_json), is_json)
    assert len(decoder._origins) <= 10


@pytest.mark.parametrize(("compiled", "is_json"), ENCODINGS.values(), ids=ENCODINGS)
def test_many_scopes_of_one_resource(monkeypatch, compiled, is_json):
    """More scopes than are remembered keep their resource."""
    monkeypatch.setattr(otlp_traces, "MAX_ORIGINS", 10)
    body = from_resources({"service.name": "shop"}, {"service.name": "bank"}, scopes=25, is_json=is_json)
    assert ["shop"] * 25 + ["bank"] * 25 == services(TraceDecoder(compiled=compiled), body, is_json)


@pytest.mark.parametrize(("compiled", "is_json"), ENCODINGS.values(), ids=ENCODINGS)
def test_remembered_origins_are_bounded_by_their_bytes(monkeypatch, compiled, is_json):
    """Large ones are forgotten sooner."""
    monkeypatch.setattr(otlp_traces, "MAX_ORIGIN_BYTES", 10_000)
    decoder = TraceDecoder(compiled=compiled)
    resources = [{"service.name": f"service {number}", "large": "x" * 3000} for number in range(20)]
    body = from_resources(*resources, is_json=is_json)
    assert [resource["service.name"] for resource in resources] == services(decoder, body, is_json)
    assert len(decoder._origins) <= 3


@pytest.mark.parametrize(("compiled", "is_json"), ENCODINGS.values(), ids=ENCODINGS)
def test_what_a_large_resource_under_many_scopes_takes(compiled, is_json):
    """It is decoded once and not kept: 1,000 copies of it would take 32 MiB."""
    large = {"service.name": "shop"} | {f"large {number}": "x" * 4000 for number in range(8)}
    body = from_resources(large, scopes=1000, is_json=is_json)
    decoder = TraceDecoder(compiled=compiled)
    decoder.decode(from_resources({"service.name": "first"}, is_json=is_json), is_json=is_json)
    tracemalloc.start()
    assert ["shop"] * 1000 == services(decoder, body, is_json)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert {0} == {len(decoder._origins[number].attributes) for number in range(len(decoder._origins))}


def test_json_rows_are_made_of_plain_numbers():
    """What keeps rows, on disk for one, knows no numbers but Python's own."""
    event = {"name": "first_token", "timeUnixNano": "1500"}
    count = {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "90"}}
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "chat", "attributes": [count], "events": [event]}
    times = {"startTimeUnixNano": "1000", "endTimeUnixNano": "2000"}
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span | times]}]}]}
    ((*_, start, end, measures),), _ = TraceDecoder().decode(json.dumps(body).encode(), is_json=True)
    assert {type(start), type(end), type(measures["output_tokens"])} == {int}
