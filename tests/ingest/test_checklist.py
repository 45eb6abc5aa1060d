"""The OTLP receiver checklist, one test per line, against the real agent pieces from the socket to the records.

C: both transports, H: HTTP, G: gRPC, J: the JSON encoding. Each docstring starts with the line's id. G9 is about
forwarding and not here.
"""

import asyncio
import gzip
import json
import zlib

import aiohttp
import grpc
import hostile
import pytest
import zstandard
from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.config.sections import OTLP
from otel_latency.errors import Overloaded
from otel_latency.ingest.intake import Signal

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"

RESPONSES = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
EXPORT = "/opentelemetry.proto.collector.{0}.v1.{1}Service/Export"
METHODS = {
    "traces": EXPORT.format("trace", "Trace"),
    "metrics": EXPORT.format("metrics", "Metrics"),
    "logs": EXPORT.format("logs", "Logs"),
}


def span_json(**changes):
    """One good span; a change to None removes the key."""
    span = {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "name": "llm",
        "kind": 3,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + SECOND),
        **changes,
    }
    return {key: value for key, value in span.items() if value is not None}


def traces_json(*spans, **resource_spans):
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    scope_spans = [{"scope": {"name": "test"}, "spans": list(spans)}]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": scope_spans, **resource_spans}]}


def traces_protobuf(*spans):
    """The same in protobuf; ids are given as bytes where they are not the good ones."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    attribute = resource_spans.resource.attributes.add()
    attribute.key, attribute.value.string_value = "service.name", "shop"
    scope_spans = resource_spans.scope_spans.add()
    for changes in spans:
        span = scope_spans.spans.add()
        span.trace_id, span.span_id, span.name = bytes.fromhex(TRACE_ID), bytes.fromhex(SPAN_ID), "llm"
        span.start_time_unix_nano, span.end_time_unix_nano = START, START + SECOND
        for name, value in changes.items():
            setattr(span, name, value)
    return request


def gauge_json(*values):
    points = [{"timeUnixNano": str(START), "asDouble": value} for value in values]
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "g", "gauge": {"dataPoints": points}}]}]}]}


class Client:
    """Posts to the HTTP receiver and calls the gRPC receiver of one agent."""

    def __init__(self, agent, post):
        self.agent = agent
        self._post = post

    async def post(self, body, content_type=JSON, path="traces", **headers):
        if isinstance(body, dict):
            body = json.dumps(body)
        return await self._post(self.agent, path, body, content_type, **headers)

    async def call(self, body, path="traces", **options):
        async with grpc.aio.insecure_channel(self.agent.grpc_target) as channel:
            return await channel.unary_unary(METHODS[path])(body, **options)

    async def refused(self, body, **options):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(body, **options)
        return error.value

    def durations(self):
        return [(row.end_ns - row.start_ns) / SECOND for row in self.agent.spans]


@pytest.fixture
def client(agent, post):
    return Client(agent, post)


def partial_success(reply, path="traces"):
    """(rejected, message) of an HTTP reply; (0, '') when partial_success is unset."""
    message_type, field = RESPONSES[path]
    is_json = reply.headers["content-type"] == JSON
    response = json_format.Parse(reply.body, message_type()) if is_json else message_type.FromString(reply.body)
    return getattr(response.partial_success, field), response.partial_success.error_message


def status_of(reply):
    """The google.rpc.Status of an HTTP error, read in the encoding it claims to have."""
    if reply.headers["content-type"] == JSON:
        return json_format.Parse(reply.body, Status())
    assert reply.headers["content-type"] == PROTOBUF
    return Status.FromString(reply.body)


# Both transports


async def test_c1(client):
    """C1: uncompressed and gzip bodies are accepted on both transports, deflate and zstd too."""
    body = traces_protobuf({}).SerializeToString()
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body), "zstd": zstandard.compress(body)}
    assert (await client.post(body, PROTOBUF)).status == 200
    for encoding, packed_body in packed.items():
        assert (await client.post(packed_body, PROTOBUF, **{"Content-Encoding": encoding})).status == 200
    for compression in grpc.Compression:
        assert await client.call(body, compression=compression) == b""
    assert len(client.agent.spans) == 7


def test_c2():
    """C2: the default ports are 4317 for gRPC and 4318 for HTTP."""
    assert (OTLP().grpc.port, OTLP().http.port) == (4317, 4318)


async def test_c3(client):
    """C3: the size of a request is bounded before and after decompression."""
    body = bytes((4 << 20) + 1)
    assert (await client.post(body, PROTOBUF)).status == 413
    assert (await client.post(gzip.compress(body), PROTOBUF, **{"Content-Encoding": "gzip"})).status == 413
    for compression in grpc.Compression:
        assert (await client.refused(body, compression=compression)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_c4(client):
    """C4: the reply is short however much there is to complain about."""
    reply = await client.post({f"unknown{number}": number for number in range(50_000)})
    assert (reply.status, len(reply.body) < 16 << 10) == (200, True)


@pytest.mark.parametrize("path", RESPONSES)
async def test_c5(client, path):
    """C5: an empty request is a success."""
    assert await client.call(b"", path=path) == b""
    for body, content_type, expected in ((b"", PROTOBUF, b""), (b"{}", JSON, b"{}")):
        reply = await client.post(body, content_type, path)
        assert (reply.status, reply.body) == (200, expected)


async def test_c6(client):
    """C6: on full success partial_success is unset."""
    assert (await client.post(traces_json(span_json()))).body == b"{}"
    assert await client.call(traces_protobuf({}).SerializeToString()) == b""
    assert len(client.agent.spans) == 2


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
async def test_c7(client, content_type):
    """C7: what is partly accepted is answered with 200, the rejected count and a message."""
    good_and_bad = {
        PROTOBUF: traces_protobuf({}, {"span_id": b""}, {"trace_id": b"short"}).SerializeToString(),
        JSON: traces_json(span_json(), span_json(spanId=""), span_json(traceId="abcd")),
    }[content_type]
    reply = await client.post(good_and_bad, content_type)
    rejected, message = partial_success(reply)
    assert (reply.status, rejected, bool(message)) == (200, 2, True)
    assert len(client.agent.spans) == 1


async def test_c7_grpc(client):
    """C7: ... and with OK over gRPC."""
    response = ExportTraceServiceResponse.FromString(
        await client.call(traces_protobuf({}, {"span_id": b""}).SerializeToString())
    )
    assert response.partial_success.rejected_spans == 1
    assert response.partial_success.error_message


async def test_c8(client):
    """C8: a warning on full success has a message and rejects nothing."""
    reply = await client.post({"resource_spans": []})
    rejected, message = partial_success(reply)
    assert (reply.status, rejected, bool(message)) == (200, 0, True)


async def test_c9(client):
    """C9: unknown fields are ignored in both encodings."""
    unknown = b"\xfa\x3f\x03abc"  # field 1023
    body = traces_protobuf({}).SerializeToString() + unknown
    assert (await client.post(body, PROTOBUF)).body == b""
    assert (await client.post({**traces_json(span_json(unknown={"a": [1]}), unknown=1), "unknown": 2})).body == b"{}"
    assert len(client.agent.spans) == 2


async def test_c10(client):
    """C10: any attribute value is accepted: empty, bytes, mixed arrays, nested key-value lists."""
    request = traces_protobuf({})
    span = request.resource_spans[0].scope_spans[0].spans[0]
    array = AnyValue()
    array.array_value.values.add().int_value = 1
    array.array_value.values.add().string_value = "x"
    array.array_value.values.add().kvlist_value.values.add(key="k").value.bool_value = True
    for value in (AnyValue(), AnyValue(bytes_value=b"\xff"), array, AnyValue(double_value=float("nan"))):
        span.attributes.add(key="a", value=value)
    body = traces_json(span_json(attributes=json_format.MessageToDict(span)["attributes"]))
    assert (await client.post(request.SerializeToString(), PROTOBUF)).body == b""
    assert (await client.post(body)).body == b"{}"
    assert len(client.agent.spans) == 2


BAD_IDS = {
    "trace_id missing": {"trace_id": b""},
    "trace_id short": {"trace_id": bytes(15)},
    "trace_id long": {"trace_id": b"x" * 17},
    "trace_id zero": {"trace_id": bytes(16)},
    "span_id missing": {"span_id": b""},
    "span_id short": {"span_id": b"x" * 7},
    "span_id long": {"span_id": b"x" * 9},
    "span_id zero": {"span_id": bytes(8)},
}


@pytest.mark.parametrize("changes", BAD_IDS.values(), ids=BAD_IDS)
async def test_c11(client, changes):
    """C11: a span whose trace or span id is not valid is rejected, and that span only."""
    keys = {"trace_id": "traceId", "span_id": "spanId"}
    reply = await client.post(traces_protobuf({}, changes).SerializeToString(), PROTOBUF)
    assert partial_success(reply)[0] == 1
    bad = span_json(**{keys[name]: value.hex() for name, value in changes.items()})
    assert partial_success(await client.post(traces_json(span_json(), bad)))[0] == 1
    assert len(client.agent.spans) == 2


async def test_c11_negative_duration(client):
    """C11: a span that ends before it starts is accepted, and counted with the duration 0."""
    aggregator = Aggregator()
    await client.post(traces_protobuf({"end_time_unix_nano": START - SECOND}).SerializeToString(), PROTOBUF)
    reply = await client.post(traces_json(span_json(spanId="0" * 15 + "1", endTimeUnixNano=str(START - SECOND))))
    aggregator.add(aggregator.fresh(client.agent.spans), now=START / SECOND)
    aggregator.fold(now=START / SECOND)
    assert (partial_success(reply), aggregator.adjusted["negative_duration"]) == ((0, ""), 2)


@pytest.mark.parametrize("path", RESPONSES)
async def test_c12(client, path):
    """C12: empty envelopes are not an error."""
    request = {
        "traces": ExportTraceServiceRequest,
        "metrics": ExportMetricsServiceRequest,
        "logs": ExportLogsServiceRequest,
    }[path]()
    singular = {"traces": "spans", "metrics": "metrics", "logs": "logs"}[path]
    getattr(request, f"resource_{singular}").add()
    getattr(getattr(request, f"resource_{singular}").add(), f"scope_{singular}").add()
    for body, content_type in ((request.SerializeToString(), PROTOBUF), (json_format.MessageToJson(request), JSON)):
        reply = await client.post(body, content_type, path)
        assert (reply.status, partial_success(reply, path)[0]) == (200, 0)


async def test_c13(client):
    """C13: a request that is sent again is accepted again, and counted once."""
    aggregator = Aggregator()
    body = traces_protobuf({}).SerializeToString()
    assert [(await client.post(body, PROTOBUF)).status for _ in range(2)] == [200, 200]
    aggregator.add(aggregator.fresh(client.agent.spans), now=START / SECOND)
    assert (len(client.agent.spans), aggregator.dropped["duplicate"]) == (2, 1)


async def test_c14(client):
    """C14: at the moment of the answer every item has been handed on or counted as rejected."""
    body = traces_protobuf(*[{} if number % 3 else {"span_id": b""} for number in range(300)]).SerializeToString()
    rejected, _ = partial_success(await client.post(body, PROTOBUF))
    assert (len(client.agent.spans), rejected) == (200, 100)
    assert client.agent.intake.received[Signal.TRACES, "http"] == 300


# HTTP


@pytest.mark.parametrize("path", RESPONSES)
async def test_h1(client, path):
    """H1: POST to the three paths is answered with 200 and an Export*ServiceResponse."""
    reply = await client.post(b"", PROTOBUF, path)
    assert (reply.status, partial_success(reply, path)) == (200, (0, ""))


async def test_h1_profiles(client):
    """H1: profiles are not taken: 404."""
    async with aiohttp.request("POST", f"{client.agent.http_url}/v1development/profiles", data=b"") as reply:
        assert reply.status == 404


CONTENT_TYPES = {
    PROTOBUF: PROTOBUF,
    JSON: JSON,
    "application/json; charset=utf-8": JSON,
    "APPLICATION/JSON": JSON,
    "Application/X-Protobuf;v=1": PROTOBUF,
}


@pytest.mark.parametrize(("content_type", "expected"), CONTENT_TYPES.items())
async def test_h2(client, content_type, expected):
    """H2: the answer has the content type of the request, in whatever case and with parameters."""
    body = b"{}" if expected == JSON else b""
    reply = await client.post(body, content_type)
    assert (reply.status, reply.headers["content-type"]) == (200, expected)


async def test_h3(client):
    """H3: protobuf and JSON share the port."""
    await client.post(traces_protobuf({}).SerializeToString(), PROTOBUF)
    await client.post(traces_json(span_json()))
    assert client.agent.spans[0] == client.agent.spans[1]


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON, "text/plain"])
async def test_h4(client, content_type):
    """H4: every error has a Status in the request's encoding, in JSON when that is unknown."""
    encoding = PROTOBUF if content_type == PROTOBUF else JSON
    url = client.agent.http_url
    for method, path, body, headers in (
        ("POST", "/nowhere", b"", {}),
        ("GET", "/v1/traces", None, {}),
        ("POST", "/v1/traces", b"\xff", {}),
        ("POST", "/v1/traces", b"\xff", {"Content-Encoding": "gzip"}),
        ("POST", "/v1/traces", b"\xff", {"Content-Encoding": "br"}),
        ("POST", "/v1/traces", bytes((4 << 20) + 1), {}),
    ):
        headers = {"Content-Type": content_type, **headers}
        async with aiohttp.request(method, url + path, data=body, headers=headers) as reply:
            assert reply.status >= 400
            assert reply.headers["Content-Type"] == encoding
            raw = await reply.read()
            assert (Status.FromString(raw) if encoding == PROTOBUF else json_format.Parse(raw, Status())).message


NOT_DECODABLE = {
    "protobuf": (b"\x0a\xff", PROTOBUF, {}),
    "JSON": (b"{", JSON, {}),
    "gzip": (b"\xff", PROTOBUF, {"Content-Encoding": "gzip"}),
    "cut gzip": (gzip.compress(b"x" * 99)[:-9], PROTOBUF, {"Content-Encoding": "gzip"}),
    "zstd": (b"\xff", JSON, {"Content-Encoding": "zstd"}),
}


@pytest.mark.parametrize(("body", "content_type", "headers"), NOT_DECODABLE.values(), ids=NOT_DECODABLE)
async def test_h5(client, body, content_type, headers):
    """H5: what cannot be decoded gets 400 with a BadRequest detail."""
    reply = await client.post(body, content_type, **headers)
    assert reply.status == 400
    assert status_of(reply).details[0].Is(BadRequest.DESCRIPTOR)


async def test_h6(client):
    """H6: over the limit is 413."""
    assert (await client.post(bytes((4 << 20) + 1), PROTOBUF)).status == 413


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/protobuf+x", "application/x-protobuf-2"])
async def test_h7(client, content_type):
    """H7: another content type is 415."""
    assert (await client.post(b"", content_type)).status == 415


async def test_h7_none(client, raw):
    """H7: ... and so is none."""
    async with raw(client.agent.http.port) as connection:
        await connection.send("POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert (await connection.reply()).status == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_h8(client, method):
    """H8: other methods than POST are 405, and Allow says so."""
    async with aiohttp.request(method, f"{client.agent.http_url}/v1/traces") as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/traces/", "/v1/trace", "/v2/traces", "//v1/traces", "/v1%2Ftraces/x"]
)
async def test_h9(client, path):
    """H9: an unknown path is 404."""
    async with aiohttp.request("POST", client.agent.http_url + path, data=b"") as reply:
        assert reply.status == 404


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "snappy"])
async def test_h10(client, encoding):
    """H10: a content encoding that is not taken is 415."""
    assert (await client.post(b"", PROTOBUF, **{"Content-Encoding": encoding})).status == 415


async def test_h11(recorder, http, raw):
    """H11: overload is 503, never 500."""
    recorder.outcome = Overloaded("full")
    async with raw(http.port) as connection:
        await connection.send(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n\r\n")
        assert (await connection.reply()).status == 503


async def test_h12(recorder, http, raw):
    """H12: Retry-After is at most 2 s."""
    recorder.outcome = Overloaded("full", 30.0)
    async with raw(http.port) as connection:
        await connection.send(f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n\r\n")
        assert int((await connection.reply()).headers["retry-after"]) <= 2


async def test_h13(client, raw):
    """H13: keep-alive, chunked bodies without a length, and Expect: 100-continue."""
    body = traces_protobuf({}).SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\n"
    async with raw(client.agent.http.port) as connection:
        await connection.send(head, "Transfer-Encoding: chunked\r\n\r\n", f"{len(body):x}\r\n", body, "\r\n0\r\n\r\n")
        assert (await connection.reply()).status == 200
        await connection.send(head, f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n")
        assert (await connection.reply()).status == 100
        await connection.send(body)
        assert (await connection.reply()).status == 200
    assert len(client.agent.spans) == 2


async def test_h14(client):
    """H14: a reply is never compressed unasked, nor when asked: it is too short."""
    reply = await client.post(b"\xff", PROTOBUF, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in reply.headers


async def test_h15(client):
    """H15: no CORS: a browser's preflight is refused, so no web page can send."""
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    async with aiohttp.request("OPTIONS", f"{client.agent.http_url}/v1/traces", headers=headers) as reply:
        assert (reply.status, "Access-Control-Allow-Origin" in reply.headers) == (405, False)


async def test_h16(client, raw):
    """H16: a header that does not end is cut off."""
    receiver = client.agent.http
    async with raw(receiver.port) as connection:
        await connection.send("POST /v1/traces HTTP/1.1\r\nX")
        while not any(open_._header_begun is not None for open_ in receiver._server.connections):
            await asyncio.sleep(0.001)
        receiver.cut_slow(receiver.clock.monotonic() + 11)
        assert await connection.closed()


async def test_h17(client, raw):
    """H17: during shutdown what has begun is finished; the rest hears 503."""
    receiver = client.agent.http
    body = traces_protobuf({}).SerializeToString()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with raw(receiver.port) as begun, raw(receiver.port) as late:
        await begun.send(head, body[:10])
        while not receiver._in_progress or len(receiver.connections) < 2:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(receiver.stop())
        await asyncio.sleep(0)
        await late.send(head, body)
        assert (await late.reply()).status == 503
        await begun.send(body[10:])
        assert (await begun.reply()).status == 200
        await stopping
    assert len(client.agent.spans) == 1


# gRPC


@pytest.mark.parametrize("path", RESPONSES)
async def test_g1(client, path):
    """G1: the three Export methods are unary; other services are UNIMPLEMENTED."""
    assert await client.call(b"", path=path) == b""
    async with grpc.aio.insecure_channel(client.agent.grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(METHODS[path].replace(".v1.", ".v2."))(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_g2(client):
    """G2: oversize is RESOURCE_EXHAUSTED without RetryInfo, so that nobody sends it again."""
    error = await client.refused(bytes(3 << 20))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in dict(error.trailing_metadata())


async def test_g3(recorder, grpc_receiver):
    """G3: overload is UNAVAILABLE with RetryInfo of at most 2 s in both places."""
    recorder.outcome = Overloaded("full", 2.0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_receiver.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(METHODS["traces"])(b"")
    trailers = dict(error.value.trailing_metadata())
    detail = RetryInfo()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(detail)
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]) == detail
    assert detail.retry_delay.seconds == 2


@pytest.mark.parametrize("path", RESPONSES)
async def test_g4(client, path):
    """G4: bad data is INVALID_ARGUMENT with a BadRequest detail."""
    error = await client.refused(b"\x0a\xff", path=path)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert status.details[0].Is(BadRequest.DESCRIPTOR)


async def test_g5(client):
    """G5: gzip messages are accepted."""
    await client.call(traces_protobuf({}).SerializeToString(), compression=grpc.Compression.Gzip)
    assert len(client.agent.spans) == 1


async def test_g6(client):
    """G6: unary calls run concurrently on one connection."""
    body = traces_protobuf({}).SerializeToString()
    async with grpc.aio.insecure_channel(client.agent.grpc_target) as channel:
        export = channel.unary_unary(METHODS["traces"])
        await asyncio.gather(*[export(body) for _ in range(50)])
    assert len(client.agent.spans) == 50


async def test_g7(client):
    """G7: a call open when the drain starts is finished, then the connection is gone."""
    body, go = traces_protobuf({}).SerializeToString(), asyncio.Event()

    async def message():
        await go.wait()
        yield body

    receiver = client.agent.grpc
    async with grpc.aio.insecure_channel(client.agent.grpc_target) as channel:
        begun = channel.stream_unary(METHODS["traces"])(message())
        while not receiver._admission.in_flight:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(receiver.stop())
        go.set()
        assert await begun == b""
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(METHODS["traces"])(body)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_g8(client):
    """G8: nothing that is sent makes us answer UNKNOWN or INTERNAL."""
    codes = set()
    async with grpc.aio.insecure_channel(client.agent.grpc_target) as channel:
        for _, headers, body in hostile.corpus(64 << 20):
            if headers["Content-Type"] == PROTOBUF:
                for method in METHODS.values():
                    call = channel.unary_unary(method)(body)
                    codes.add(await call.code())
    assert {code.name for code in codes} == {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


# The JSON encoding


@pytest.mark.parametrize("change", [str.upper, str.lower])
async def test_j1(client, change):
    """J1: ids are hex in any case; base64, which protobuf's own JSON uses, is not taken for it."""
    parent = "0123456789abcdef"
    await client.post(traces_json(span_json(traceId=change(TRACE_ID), spanId=change(SPAN_ID), parentSpanId=parent)))
    row = client.agent.spans[0]
    assert (row.trace_id.hex(), row.span_id.hex(), row.parent_id.hex()) == (TRACE_ID, SPAN_ID, parent)
    reply = await client.post(traces_json(span_json(traceId="W47/95gDgQPSabYzgT/GDA==")))
    assert partial_success(reply)[0] == 1


@pytest.mark.parametrize("kind", [0, 3, 99, None])
async def test_j2(client, kind):
    """J2: enums are integers, unknown ones included."""
    assert (await client.post(traces_json(span_json(kind=kind, status={"code": 2})))).body == b"{}"
    assert client.agent.spans[0].profile.status == "error"


@pytest.mark.parametrize("number", [str, int])
async def test_j3(client, number):
    """J3: 64-bit integers are text or numbers."""
    tokens = {"key": "gen_ai.usage.input_tokens", "value": {"intValue": number(512)}}
    operation = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
    times = {"startTimeUnixNano": number(START), "endTimeUnixNano": number(START + 2 * SECOND)}
    await client.post(traces_json(span_json(attributes=[operation, tokens], **times)))
    assert client.durations() == [2]
    assert client.agent.spans[0].measures["input_tokens"] == 512


async def test_j4(client):
    """J4: unknown keys are ignored at every level."""
    body = traces_json(span_json(x=1, status={"x": 1}, attributes=[{"key": "a", "x": 1, "value": {"x": 1}}]), x=1)
    body["x"] = {"resourceSpans": 1}
    body["resourceSpans"][0]["resource"]["x"] = [1]
    body["resourceSpans"][0]["scopeSpans"][0]["x"] = None
    assert (await client.post(body)).body == b"{}"
    assert len(client.agent.spans) == 1


async def test_j5(client):
    """J5: snake_case keys are unknown; a body that holds nothing we know gets a warning that names them."""
    reply = await client.post({"resource_spans": [{"scope_spans": [{"spans": [span_json()]}]}]})
    rejected, message = partial_success(reply)
    assert (reply.status, rejected, "resource_spans" in message) == (200, 0, True)
    assert client.agent.spans == []


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", 1, 1.5, "2.5", None])
async def test_j6_doubles(client, value):
    """J6: doubles may be NaN and infinities as text; null is the default."""
    reply = await client.post(gauge_json(value), path="metrics")
    assert reply.status == 200
    assert len(client.agent.points) + partial_success(reply, "metrics")[0] == 1


@pytest.mark.parametrize("value", [{"bytesValue": "aGk="}, {}, None, {"stringValue": None}, {"arrayValue": {}}])
async def test_j6_values(client, value):
    """J6: bytesValue is base64, null is the default and an empty value is legal."""
    assert (await client.post(traces_json(span_json(attributes=[{"key": "a", "value": value}])))).body == b"{}"
    assert len(client.agent.spans) == 1


MALFORMED = {
    "list": b"[]",
    "text": b'"x"',
    "number": b"1",
    "cut": b'{"resourceSpans":[{',
    "bad UTF-8": b'{"resourceSpans":[],"x":"\xff"}',
    "too deep": b'{"x":' * 200 + b"1" + b"}" * 200,
    "far too deep": b"[" * 200_000,
    "nothing": b"",
    "rubbish after": b"{} x",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_j7(client, body):
    """J7: what is no JSON object, or too deep, is 400."""
    assert (await client.post(body)).status == 400


async def test_hostile_corpus(client, caplog):
    """H11, J7: the whole hostile corpus gets 2xx and 4xx alone, nothing is taken for our bug, and we live on."""
    for name, headers, body in hostile.corpus(64 << 20):
        for path in RESPONSES:
            content_type, rest = headers["Content-Type"], {k: v for k, v in headers.items() if k != "Content-Type"}
            reply = await client.post(body, content_type, path, **rest)
            assert reply.status in (200, 400, 413, 415), (name, path)
    assert caplog.messages == []
    await client.post(traces_protobuf({}).SerializeToString(), PROTOBUF)
    assert client.durations()[-1] == 1
