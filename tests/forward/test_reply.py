import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_latency.errors import ForwardError
from otel_latency.forward import reply
from otel_latency.forward.batch import Accepted
from otel_latency.forward.protobuf import encode_varint

NOW = 1_700_000_000.0
SECRET = "c4n4ry"


def of_http(status, body=b"", *, is_json=False, **headers):
    """What became of it: `Accepted`, or the error."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        return reply.of_http(status, shown, body, is_json=is_json, now=NOW, secrets=[SECRET])
    except ForwardError as error:
        return error


@pytest.mark.parametrize("status", [200, 202, 204])
def test_taken(status):
    """From 200 on a request was taken."""
    assert Accepted(0, "") == of_http(status)


TRANSIENT = {429, 502, 503, 504}


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 501, 505, *TRANSIENT])
def test_statuses(status):
    """Four statuses are worth another try; each is counted by its number."""
    error = of_http(status)
    assert (status in TRANSIENT, f"http_{status}") == (error.is_transient, error.reason)


WAITS = {
    "7": 7.0,
    "Tue, 14 Nov 2023 22:13:50 GMT": 30.0,
    "Tue, 14 Nov 2023 22:00:00 GMT": 0.0,
    "-5": 0.0,
    "86400": 300.0,
    "nan": None,
    "inf": None,
    "soon": None,
    "": None,
}


@pytest.mark.parametrize(("header", "seconds"), WAITS.items())
def test_retry_after(header, seconds):
    """Seconds or a date, 5 minutes at most; what makes no sense is nothing."""
    assert seconds == of_http(503, Retry_After=header).retry_after


def test_partial_success():
    """What was rejected is counted in both encodings; a warning has no count."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans, response.partial_success.error_message = 3, "too old"
    assert Accepted(3, "too old") == of_http(200, response.SerializeToString())
    for key in ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"):
        body = json.dumps({"partialSuccess": {key: "3", "errorMessage": "too old"}}).encode()
        assert Accepted(3, "too old") == of_http(200, body, is_json=True)
    warning = json.dumps({"partialSuccess": {"errorMessage": "slow down"}}).encode()
    assert Accepted(0, "slow down") == of_http(200, warning, is_json=True)


@given(st.binary(max_size=200), st.booleans())
def test_any_reply(body, is_json):
    """Whatever follows a 200, the request was taken."""
    answer = of_http(200, body, is_json=is_json)
    assert (True, True) == (isinstance(answer, Accepted), answer.rejected >= 0)


def test_negative_rejection():
    """Less than nothing cannot be rejected."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = -5
    assert Accepted(0, "") == of_http(200, response.SerializeToString())
    assert Accepted(0, "") == of_http(200, b'{"partialSuccess":{"rejectedSpans":-5}}', is_json=True)


def field(number, value):
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


WORDS = {
    "protobuf": (field(2, b"no such tenant"), "application/x-protobuf", ": no such tenant"),
    "JSON": (b'{"code":3,"message":"no such tenant"}', "application/json; charset=utf-8", ": no such tenant"),
    "text": (b"no such\r\n\x00tenant", "text/plain", ": no such tenant"),
    "a page": (b"<html>no such tenant", "text/html", ""),
    "our secret": (f"no tenant for {SECRET}".encode(), "text/plain", ": no tenant for ***"),
    "too many": (b"x" * 1000, "text/plain", ": " + "x" * 200),
    "garbage as protobuf": (b"\xff\xff", "application/x-protobuf", ""),
    "garbage as JSON": (b"{", "application/json", ""),
    "other JSON": (b"[1]", "application/json", ""),
}


@pytest.mark.parametrize(("body", "content_type", "shown"), WORDS.values(), ids=WORDS)
def test_words(body, content_type, shown):
    """Of a refusal's own words the beginning is shown, on one line, without our secrets."""
    assert f"it answered 400{shown}" == str(of_http(400, body, Content_Type=content_type))


def test_no_words():
    """A far side that knows prompts is not quoted; what grpcio says itself is."""
    with pytest.raises(ForwardError) as refused:
        reply.of_http(400, {"Content-Type": "text/plain"}, b"hello", is_json=False, now=NOW, secrets=None)
    assert "it answered 400" == str(refused.value)
    assert (1, "") == reply.partial_success(field(1, b"\x08\x01" + field(2, b"hello")), is_json=False, secrets=None)
    assert "it answered ABORTED" == str(reply.of_grpc_error("ABORTED", "hello", {}, secrets=None))
    unconnected = reply.of_grpc_error("UNAVAILABLE", f"{UNCONNECTED}Connection refused", {}, secrets=None)
    assert "no connection: UNKNOWN: ipv4:127.0.0.1:1: Connection refused" == str(unconnected)


CODES = {
    "CANCELLED": True,
    "UNKNOWN": False,
    "INVALID_ARGUMENT": False,
    "DEADLINE_EXCEEDED": True,
    "NOT_FOUND": False,
    "ALREADY_EXISTS": False,
    "PERMISSION_DENIED": False,
    "RESOURCE_EXHAUSTED": False,
    "FAILED_PRECONDITION": False,
    "ABORTED": True,
    "OUT_OF_RANGE": True,
    "UNIMPLEMENTED": False,
    "INTERNAL": False,
    "UNAVAILABLE": True,
    "DATA_LOSS": True,
    "UNAUTHENTICATED": False,
}


@pytest.mark.parametrize(("code", "is_transient"), CODES.items())
def test_codes(code, is_transient):
    """The table of the specification."""
    error = reply.of_grpc_error(code, "", {}, secrets=[])
    assert (is_transient, f"grpc_{code.lower()}") == (error.is_transient, error.reason)


RETRY_INFO = field(1, b"\x08\x02" + b"\x10" + encode_varint(500_000_000))
DETAILS = field(3, field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, RETRY_INFO))
TRAILERS = {
    "in the details": ({"grpc-status-details-bin": b"\x08\x08" + DETAILS}, 2.5),
    "by itself": ({"google.rpc.retryinfo-bin": RETRY_INFO}, 2.5),
    "other details": ({"grpc-status-details-bin": field(3, field(1, b"x/google.rpc.BadRequest"))}, None),
    "garbage": ({"grpc-status-details-bin": b"\xff\xff"}, None),
    "far too long": ({"google.rpc.retryinfo-bin": field(1, b"\x08" + encode_varint(1 << 40))}, 300.0),
}


@pytest.mark.parametrize(("trailers", "seconds"), TRAILERS.values(), ids=TRAILERS)
def test_retry_info(trailers, seconds):
    """RetryInfo says when, and makes RESOURCE_EXHAUSTED worth another try."""
    error = reply.of_grpc_error("RESOURCE_EXHAUSTED", f"full {SECRET}", trailers, secrets=[SECRET])
    assert (seconds, seconds is not None) == (error.retry_after, error.is_transient)
    assert "it answered RESOURCE_EXHAUSTED: full ***" == str(error)


UNCONNECTED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
DETAILS_OF_GRPC = {
    "refused": (UNCONNECTED + "Connection refused", "no connection: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"),
    "expired": (
        UNCONNECTED + "Tls handshake failed: OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
        "its certificate was refused: certificate has expired",
    ),
    "other host": (
        UNCONNECTED + "Custom verification check failed with error: Hostname Verification Check failed.",
        "its certificate was refused: it is for another host",
    ),
    "no name": ("errors resolving tempo:1: not found", "no connection: errors resolving tempo:1: not found"),
    "lost": ("Socket closed", "it answered UNAVAILABLE: Socket closed"),
}


@pytest.mark.parametrize(("details", "fact"), DETAILS_OF_GRPC.values(), ids=DETAILS_OF_GRPC)
def test_unavailable(details, fact):
    """What grpcio says about a connection that did not come about is made plain; nothing can have arrived then."""
    error = reply.of_grpc_error("UNAVAILABLE", details, {}, secrets=[])
    assert (fact, fact.startswith("it answered")) == (str(error), error.may_have_arrived)
    assert fact.startswith("its certificate") == error.is_about_tls
