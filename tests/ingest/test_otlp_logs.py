"""Logs requests, in protobuf and in JSON, become reports about running operations."""

import base64
import json
from contextlib import suppress

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest.otlp_logs import JSON_KEYS, decode_logs
from otel_latency.ingest.wire_json import ignored_keys_warning
from otel_latency.records import Operation

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
NOW_NS = 1_700_000_000_500_000_000


def value(of: str | float) -> AnyValue:
    return AnyValue(string_value=of) if isinstance(of, str) else AnyValue(double_value=of)


def record(event: str, trace_id: bytes = TRACE, span_id: bytes = SPAN, **attributes: str | float) -> LogRecord:
    pairs = [KeyValue(key=key.replace("__", "."), value=value(of)) for key, of in attributes.items()]
    return LogRecord(event_name=event, time_unix_nano=NOW_NS, trace_id=trace_id, span_id=span_id, attributes=pairs)


def request(*records: LogRecord) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    envelope = message.resource_logs.add()
    envelope.resource.attributes.add(key="service.name", value=value("shop"))
    envelope.scope_logs.add().log_records.extend(records)
    return message


def as_json(message: ExportLogsServiceRequest) -> bytes:
    """As OTLP/JSON has it: ids in hexadecimal, where protobuf's own JSON has base64."""
    document = json_format.MessageToDict(message)
    for envelope in document["resourceLogs"][0]["scopeLogs"]:
        for found in envelope["logRecords"]:
            for key in {"traceId", "spanId"} & found.keys():
                found[key] = base64.b64decode(found[key]).hex().upper()
    return json.dumps(document).encode()


def decode_both(*records: LogRecord):
    """What both encodings of *records* say, which must be the same."""
    in_protobuf = decode_logs(request(*records).SerializeToString(), is_json=False)
    assert in_protobuf == decode_logs(as_json(request(*records)), is_json=True)
    return in_protobuf


def test_start_of_an_operation():
    """A start says who runs what, for how long it may and for how long it should."""
    operations, accepted, rejected = decode_both(
        record(
            "otel_latency.operation.start",
            otel_latency__stage="llm",
            otel_latency__task="script_generation",
            otel_latency__timeout=15.0,
            otel_latency__estimate=4.5,
            gen_ai__provider__name="openai",
            gen_ai__request__model="gpt-4o",
        )
    )
    expected = Operation(
        event="start",
        time=1_700_000_000.5,
        trace_id=TRACE,
        span_id=SPAN,
        service="shop",
        stage="llm",
        task="script_generation",
        provider="openai",
        model="gpt-4o",
        estimate=4.5,
        timeout=15.0,
    )
    assert ([expected], 1, {}) == (operations, accepted, rejected)


@pytest.mark.parametrize("event", ["start", "progress", "warning", "end"])
def test_events(event):
    """All four events of an operation are known, by field and by attribute."""
    by_attribute = record("", event__name=f"otel_latency.operation.{event}")
    operations, _, _ = decode_both(record(f"otel_latency.operation.{event}"), by_attribute)
    assert [event, event] == [operation.event for operation in operations]


def test_other_logs_are_accepted():
    """A record that is not about an operation needs no ids, and an event of ours to come is no error."""
    other = LogRecord(body=value("hello"), severity_number=9)
    assert ([], 2, {}) == decode_both(other, record("otel_latency.operation.retry", b"", b""))


NUMBERS = {
    "a whole number": (AnyValue(int_value=3), 3.0),
    "text": (AnyValue(string_value="3"), None),
    "a truth": (AnyValue(bool_value=True), None),
    "not a number": (AnyValue(double_value=float("nan")), None),
    "infinity": (AnyValue(double_value=float("inf")), None),
    "less than nothing": (AnyValue(double_value=-1.0), None),
    "no value": (AnyValue(), None),
}


@pytest.mark.parametrize(("sent", "seconds"), NUMBERS.values(), ids=NUMBERS)
def test_seconds(sent, seconds):
    """Seconds are finite and not negative, or unknown."""
    message = record("otel_latency.operation.progress")
    message.attributes.add(key="otel_latency.elapsed", value=sent)
    ((operation,), _, _) = decode_both(message)
    assert seconds == operation.elapsed


def test_time_observed():
    """Where a record has no time of its own, the time at which it was observed counts."""
    message = record("otel_latency.operation.start")
    message.time_unix_nano, message.observed_time_unix_nano = 0, 3_000_000_000
    ((operation,), _, _) = decode_both(message)
    assert 3.0 == operation.time


def test_long_text_is_cut():
    """Names are cut to the length that a label may have."""
    ((operation,), _, _) = decode_both(record("otel_latency.operation.start", otel_latency__stage="x" * 5000))
    assert 200 == len(operation.stage)


REFUSED = {
    "a short trace id": (record("otel_latency.operation.start", trace_id=TRACE[:15]), "invalid_trace_id"),
    "a zero trace id": (record("otel_latency.operation.start", trace_id=bytes(16)), "invalid_trace_id"),
    "a long span id": (record("otel_latency.operation.start", span_id=SPAN * 2), "invalid_span_id"),
    "no span id": (record("otel_latency.operation.start", span_id=b""), "invalid_span_id"),
    "a large record": (LogRecord(body=value("x" * 70_000)), "too_large"),
}


@pytest.mark.parametrize(("bad", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_records(bad, reason):
    """A bad record is refused with its reason, and its neighbours are taken."""
    operations, accepted, rejected = decode_both(record("otel_latency.operation.start"), bad, LogRecord())
    assert (1, 2, {reason: 1}) == (len(operations), accepted, rejected)


def _message(number: int, body: bytes) -> bytes:
    """Field *number* holding *body*, which is shorter than 16 KiB."""
    return bytes([number << 3 | 2, len(body) & 127 | 128, len(body) >> 7]) + body


def test_invalid_utf8_and_deep_values():
    """What protobuf itself cannot read costs one record."""
    deep = b""
    for _ in range(100):
        deep = _message(5, _message(1, deep))
    body = request(LogRecord(body=value("abcde")), LogRecord()).SerializeToString().replace(b"abcde", b"ab\xffde")
    body += _message(1, _message(2, _message(2, _message(5, deep))))
    assert ([], 1, {"malformed": 2}) == decode_logs(body, is_json=False)


def test_json_ids_in_base64_are_refused():
    """An id as protobuf's own JSON writes it is not hexadecimal, and is not taken for one."""
    body = json_format.MessageToJson(request(record("otel_latency.operation.start"))).encode()
    assert ([], 0, {"malformed": 1}) == decode_logs(body, is_json=True)


def test_unreadable_resource():
    """Records whose resource cannot be read are refused: nobody knows whose they are."""
    body = b'{"resourceLogs":[{"resource":{"attributes":1},"scopeLogs":[{"logRecords":[{},{}]}]}]}'
    assert ([], 0, {"malformed": 2}) == decode_logs(body, is_json=True)


def test_number_of_records():
    """20,000 records are taken, one more is too many."""
    body = request(*[LogRecord(severity_number=1)] * 20_000)
    assert ([], 20_000, {}) == decode_logs(body.SerializeToString(), is_json=False)
    body.resource_logs[0].scope_logs[0].log_records.add()
    with pytest.raises(BodyTooLarge):
        decode_logs(body.SerializeToString(), is_json=False)


@pytest.mark.parametrize(
    "body", [b"[]", b'"x"', b"", b'{"resourceLogs":', b'{"resourceLogs":5}', b"[" * 9999, b'"\xff"']
)
def test_unreadable(body):
    """JSON that is no request at all is refused as a whole."""
    with pytest.raises(DecodeError):
        decode_logs(body, is_json=True)


def test_ignored_keys_are_named():
    """The keys of the JSON rules are known, those of other spellings are reported."""
    message = request(record("otel_latency.operation.start"), LogRecord(body=value("x"), severity_text="INFO", flags=1))
    assert "" == ignored_keys_warning(as_json(message), JSON_KEYS)
    assert "resource_logs" in ignored_keys_warning(b'{"resource_logs":[]}', JSON_KEYS)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes(body, is_json):
    """Whatever arrives, the only way to fail is DecodeError."""
    with suppress(DecodeError):
        decode_logs(body, is_json=is_json)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_requests(data):
    """A request with some bytes changed is read as far as it can be, or refused as a whole."""
    start = record("otel_latency.operation.start", otel_latency__stage="llm", otel_latency__elapsed=1.0)
    body = bytearray(request(start, LogRecord(body=value("x"))).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decode_logs(bytes(body), is_json=False)
