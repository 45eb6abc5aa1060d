import json

import pytest
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status as StatusProto
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_latency.errors import BodyTooLarge, DecodeError, Overloaded, UnsupportedEncoding
from otel_latency.ingest.intake import Outcome, Signal
from otel_latency.ingest.replies import Code, Status, encode_response, encode_retry_info, encode_status, status_of

RESPONSES = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
}


def decode(encoded, message_type, is_json):
    return json_format.Parse(encoded, message_type()) if is_json else message_type.FromString(encoded)


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(("is_json", "expected"), [(False, b""), (True, b"{}")])
def test_full_success(signal, is_json, expected):
    """A full success leaves partial_success unset, which makes the reply empty."""
    assert encode_response(signal, Outcome(), is_json=is_json) == expected


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("outcome", [Outcome(3, "two had no id, é"), Outcome(2**40, ""), Outcome(0, "a warning")])
def test_partial_success(signal, outcome, is_json):
    """Rejected items and warnings come back in the field of their signal."""
    message_type, field = RESPONSES[signal]
    partial = decode(encode_response(signal, outcome, is_json=is_json), message_type, is_json).partial_success
    assert (getattr(partial, field), partial.error_message) == outcome[:2]


def test_json_int64():
    """JSON writes the count as text, as protobuf's mapping wants it for 64-bit integers."""
    reply = json.loads(encode_response(Signal.TRACES, Outcome(3, "why"), is_json=True))
    assert reply == {"partialSuccess": {"rejectedSpans": "3", "errorMessage": "why"}}


@pytest.mark.parametrize("is_json", [False, True])
def test_bad_request(is_json):
    """A request that is to blame gets a BadRequest detail."""
    status = decode(encode_status(Status(Code.INVALID_ARGUMENT, "no"), is_json=is_json), StatusProto, is_json)
    detail = BadRequest()
    assert (status.code, status.message, status.details[0].Unpack(detail)) == (3, "no", True)
    assert [violation.description for violation in detail.field_violations] == ["no"]


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("seconds", [1.0, 1.25, 1.999999999, 2.0])
def test_retry_info(seconds, is_json):
    """A request that may be repeated hears when, to the nanosecond."""
    encoded = encode_status(Status(Code.UNAVAILABLE, "later", seconds), is_json=is_json)
    detail = RetryInfo()
    assert decode(encoded, StatusProto, is_json).details[0].Unpack(detail)
    assert detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9 == pytest.approx(seconds, abs=1e-9)
    assert RetryInfo.FromString(encode_retry_info(seconds)) == detail


@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("text", ["x" * 10**6, "é" * 10**6, "\ud800" * 10**6, "\0" * 10**6])
def test_bounded(text, is_json):
    """However long the message, the reply is short and valid."""
    status = encode_status(Status(Code.INVALID_ARGUMENT, text), is_json=is_json)
    response = encode_response(Signal.LOGS, Outcome(1, text), is_json=is_json)
    assert max(len(status), len(response)) < 16 << 10
    assert decode(status, StatusProto, is_json).message.endswith("…")
    assert decode(response, ExportLogsServiceResponse, is_json).partial_success.error_message.endswith("…")


ERRORS = [
    (DecodeError("a"), Status(Code.INVALID_ARGUMENT, "a")),
    (UnsupportedEncoding("b"), Status(Code.INVALID_ARGUMENT, "b")),
    (BodyTooLarge("c"), Status(Code.RESOURCE_EXHAUSTED, "c")),
    (Overloaded("d", 1.5), Status(Code.UNAVAILABLE, "d", 1.5)),
]


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_status_of(error, status):
    """Each of our errors has its code; only an overload may be repeated."""
    assert status_of(error) == status
