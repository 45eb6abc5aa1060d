"""What both transports do, against real servers on loopback."""

import asyncio
import gzip
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sink as far_side
from forward.conftest import credentials, spans
from forward.pems import PEMs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from sink import grpc_sink, http_sink

from otel_latency.config.values import Secret
from otel_latency.errors import ForwardError
from otel_latency.forward.batch import Accepted, Parcel
from otel_latency.forward.grpc import MAX_PACKED, GRPCTransport
from otel_latency.forward.http import HTTPTransport
from otel_latency.records import Signal

BODY = spans("chat")
SECRET = "c4n4ry"


class HTTP:
    sink = staticmethod(http_sink)

    def __init__(self, worker, clock):
        self._parts = (worker, clock)

    def transport(self, port, who=None, *, is_secure=False, timeout=5.0):
        url = f"http{'s' * is_secure}://127.0.0.1:{port}/"
        return HTTPTransport(url, who or credentials(), *self._parts, timeout=timeout)

    def server(self, pems, certificate, **asks):
        return pems.context(certificate, **asks)


class GRPC:
    sink = staticmethod(grpc_sink)

    def __init__(self, worker, clock):
        self._worker = worker

    def transport(self, port, who=None, *, is_secure=False, timeout=5.0):
        return GRPCTransport(
            f"127.0.0.1:{port}", who or credentials(), self._worker, is_secure=is_secure, timeout=timeout
        )

    def server(self, pems, certificate, **asks):
        return pems.credentials(certificate, **asks)


@pytest.fixture(params=[HTTP, GRPC])
def kind(request, worker, clock):
    return request.param(worker, clock)


@pytest.fixture
def pems(tmp_path):
    return PEMs(tmp_path)


def parcel(body=BODY, signal=Signal.TRACES, *, is_json=False, is_gzip=False):
    return Parcel("the-batch", signal, is_json, is_gzip, body)


@asynccontextmanager
async def closing(transport):
    try:
        yield transport
    finally:
        await transport.close()


async def failure(transport, given=None):
    """The error of one attempt."""
    async with closing(transport):
        with pytest.raises(ForwardError) as raised:
            await transport.send(given or parcel())
    return raised.value


@pytest.mark.parametrize("signal", Signal)
async def test_arrives(kind, signal):
    """Each signal arrives at its place, byte for byte, with the batch's id and the headers of the configuration."""
    async with (
        kind.sink() as sink,
        closing(kind.transport(sink.port, credentials({"X-Key": Secret("k")}))) as transport,
    ):
        assert Accepted() == await transport.send(parcel(BODY * 3, signal))
    arrival = sink.arrivals[0]
    assert (f"/v1/{signal.value}", BODY * 3, "the-batch", "k") == (
        arrival.path,
        arrival.body,
        arrival.batch_id,
        arrival.headers["x-key"],
    )
    assert arrival.headers["user-agent"].startswith("otel-latency")


async def test_large(kind):
    """So does a request of 4 MiB."""
    body = spans(*["x" * 1000] * 4000)
    async with kind.sink() as sink, closing(kind.transport(sink.port)) as transport:
        await transport.send(parcel(body))
    assert ([body], True) == (sink.bodies, len(body) > MAX_PACKED)


async def test_four_at_once(kind):
    """Four requests are under way at the same time, from the first moment on."""
    together = asyncio.Barrier(4)

    async def meet(context):
        await together.wait()
        return far_side.web.Response() if isinstance(context, far_side.web.Request) else b""

    async with kind.sink() as sink, closing(kind.transport(sink.port)) as transport:
        sink.answers += [meet] * 4
        answers = await asyncio.gather(*(transport.send(parcel()) for _ in range(4)))
    assert [Accepted()] * 4 == answers


async def test_header_from_file(kind, tmp_path):
    """A header's file is read each time; while it cannot be read the last value serves."""
    file = tmp_path / "token"
    file.write_text("one\n")
    who = credentials(header_files={"authorization": str(file)})
    async with kind.sink() as sink, closing(kind.transport(sink.port, who)) as transport:
        await transport.send(parcel())
        file.write_text("two\n")
        await transport.send(parcel())
        file.unlink()
        await transport.send(parcel())
    assert ["one", "two", "two"] == [arrival.headers["authorization"] for arrival in sink.arrivals]


async def test_partial_success(kind):
    """What the destination rejects is told."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans, response.partial_success.error_message = 2, f"no {SECRET}"
    body = response.SerializeToString()
    async with kind.sink() as sink:
        sink.answers.append(far_side.message(body) if kind.sink is grpc_sink else far_side.status(200, body))
        async with closing(kind.transport(sink.port, credentials({"x-key": Secret(SECRET)}))) as transport:
            assert Accepted(2, "no ***") == await transport.send(parcel())


async def test_nobody_is_there(kind):
    """A port on which nobody listens: come again, nothing can have arrived."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = await failure(kind.transport(free.getsockname()[1]))
    assert (True, False) == (error.is_transient, error.may_have_arrived)
    assert "refused" in str(error).lower()


async def test_silence(kind):
    """No answer in time: come again, it may have arrived."""
    async with kind.sink() as sink:
        sink.answers.append(far_side.silence)
        error = await failure(kind.transport(sink.port, timeout=0.3))
    assert (True, True, 1) == (error.is_transient, error.may_have_arrived, len(sink.arrivals))


FAULTS = {
    "expired": "has expired",
    "somebody else's": "",
    "another host's": "is for another",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_certificate(kind, pems, tmp_path, fault):
    """A certificate that is not right is told, and nothing is sent; it may be right another time."""
    theirs = {
        "expired": lambda: (pems, pems.server(is_expired=True)),
        "somebody else's": lambda: (other := PEMs(tmp_path, "other"), other.server()),
        "another host's": lambda: (pems, pems.server("example.com")),
    }[fault]()
    async with kind.sink(kind.server(*theirs)) as sink:
        error = await failure(kind.transport(sink.port, credentials(ca_file=pems.ca_file), is_secure=True))
    assert (True, True, []) == (error.is_transient, error.is_about_tls, sink.arrivals)
    assert not error.may_have_arrived
    assert "its certificate was refused: " in str(error)
    assert FAULTS[fault] in str(error)


async def test_mutual(kind, pems):
    """A destination that asks who we are is shown our certificate, and takes nothing without."""
    ours = {"ca_file": pems.ca_file, "cert_file": pems.cert_file, "key_file": pems.key_file}
    async with kind.sink(kind.server(pems, pems.server(), wants_client=True)) as sink:
        error = await failure(kind.transport(sink.port, credentials(ca_file=pems.ca_file), is_secure=True))
        async with closing(kind.transport(sink.port, credentials(**ours), is_secure=True)) as transport:
            await transport.send(parcel())
    assert (True, [BODY]) == (error.is_transient, sink.bodies)


async def test_renewed_certificate(kind, pems, tmp_path):
    """After `renew` certificates are read again: an authority that was exchanged is known."""
    other = PEMs(tmp_path, "other")
    file = tmp_path / "ca.pem"
    file.write_bytes(Path(other.ca_file).read_bytes())
    who = credentials(ca_file=str(file))
    async with (
        kind.sink(kind.server(pems, pems.server())) as sink,
        closing(kind.transport(sink.port, who, is_secure=True)) as transport,
    ):
        with pytest.raises(ForwardError):
            await transport.send(parcel())
        file.write_bytes(Path(pems.ca_file).read_bytes())
        await transport.renew()
        await transport.send(parcel())
    assert [BODY] == sink.bodies


async def test_missing_certificate(kind, pems, tmp_path):
    """A file that went missing while we run is told; it may come back."""
    gone = tmp_path / "gone.pem"
    async with kind.sink(kind.server(pems, pems.server())) as sink:
        error = await failure(kind.transport(sink.port, credentials(ca_file=str(gone)), is_secure=True))
    assert "forward[0].tls.ca_file: the file cannot be read" in str(error)
    assert error.is_transient


async def test_proxy(kind, monkeypatch):
    """A proxy in the environment is not asked."""
    async with http_sink() as proxy, kind.sink() as sink:
        for name in ("HTTP_PROXY", "http_proxy", "https_proxy", "grpc_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with closing(kind.transport(sink.port)) as transport:
            await transport.send(parcel())
    assert (1, 0) == (len(sink.arrivals), len(proxy.arrivals))


async def test_closing(kind):
    """Closing twice, or before anything was sent, is harmless."""
    transport = kind.transport(1)
    await transport.close()
    await transport.close()


# HTTP alone.


@pytest.fixture
async def http(worker, clock, sink):
    async with closing(HTTP(worker, clock).transport(sink.port)) as transport:
        yield transport


@pytest.mark.parametrize(("is_json", "content_type"), [(True, "application/json"), (False, "application/x-protobuf")])
async def test_encodings(http, sink, is_json, content_type):
    """What is sent says what it is, packed or not."""
    await http.send(parcel(b"{}", is_json=is_json))
    await http.send(parcel(gzip.compress(b"{}"), is_json=is_json, is_gzip=True))
    assert [b"{}", b"{}"] == sink.bodies
    assert {content_type} == {arrival.headers["content-type"] for arrival in sink.arrivals}
    assert [None, "gzip"] == [arrival.headers.get("content-encoding") for arrival in sink.arrivals]


async def test_path(worker, clock, sink):
    """A path of the endpoint comes before that of the signal."""
    async with closing(
        HTTPTransport(f"http://127.0.0.1:{sink.port}/tenant/a/", credentials(), worker, clock)
    ) as transport:
        await transport.send(parcel(signal=Signal.LOGS))
    assert "/tenant/a/v1/logs" == sink.arrivals[0].path


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
async def test_redirect(http, sink, number):
    """A redirect is refused, and not followed."""
    sink.answers.append(far_side.status(number, Location=f"http://127.0.0.1:{sink.port}/elsewhere"))
    error = await failure(http)
    assert (False, f"http_{number}", 1) == (error.is_transient, error.reason, len(sink.arrivals))


async def test_retry_after(http, sink):
    """The wait that a destination asks for comes with the error."""
    sink.answers += [
        far_side.status(429, Retry_After="7"),
        far_side.status(503, Retry_After="Tue, 14 Nov 2023 22:13:50 GMT"),
    ]
    assert [7.0, 30.0] == [(await failure(http)).retry_after for _ in range(2)]


async def test_reset_after_delivery(http, sink):
    """The connection breaks before the answer: come again, it may have arrived."""
    sink.answers.append(far_side.reset)
    error = await failure(http)
    assert (True, True, "connection") == (error.is_transient, error.may_have_arrived, error.reason)


@pytest.mark.parametrize("answer", [far_side.endless, far_side.bomb])
async def test_huge_reply(http, sink, answer):
    """Of a reply without end, or one that would burst, the beginning is read; the request was taken."""
    sink.answers.append(answer)
    assert Accepted() == await http.send(parcel())
    assert Accepted() == await http.send(parcel())


async def test_silence_after_the_status(worker, clock, sink):
    """Once the status was heard, what follows cannot undo it."""

    async def half(request):
        response = far_side.web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        return await far_side.silence(request)

    sink.answers.append(half)
    async with closing(HTTP(worker, clock).transport(sink.port, timeout=0.3)) as transport:
        assert Accepted() == await transport.send(parcel())


async def test_kept_connection(http, sink):
    """Requests one after the other share a connection."""
    peers = set()

    async def note(request):
        peers.add(request.transport.get_extra_info("peername"))
        return far_side.web.Response()

    sink.answers += [note] * 3
    for _ in range(3):
        await http.send(parcel())
    assert 1 == len(peers)


async def test_unknown_name(worker, clock):
    """A name that leads nowhere may lead somewhere later."""
    error = await failure(HTTPTransport("http://nowhere.invalid", credentials(), worker, clock))
    assert ("its name cannot be resolved", True, False) == (str(error), error.is_transient, error.may_have_arrived)


# gRPC alone.


@pytest.fixture
async def grpc(worker, clock, far_grpc):
    async with closing(GRPC(worker, clock).transport(far_grpc.port)) as transport:
        yield transport


async def test_retry_info(grpc, far_grpc):
    """Exhausted with a time to come back is worth another try, without one it is final."""
    wait = b"\x0a\x02\x08\x07"
    trailers = {"google.rpc.retryinfo_bin": wait}
    far_grpc.answers += [far_side.code("RESOURCE_EXHAUSTED", "full", **trailers), far_side.code("RESOURCE_EXHAUSTED")]
    first = await failure(grpc)
    second = await failure(grpc)
    assert (True, 7.0, False, None) == (first.is_transient, first.retry_after, second.is_transient, second.retry_after)


async def test_refusal(grpc, far_grpc):
    """A refusal is told with its words."""
    far_grpc.answers.append(far_side.code("INVALID_ARGUMENT", "no such\ntenant"))
    error = await failure(grpc)
    assert ("it answered INVALID_ARGUMENT: no such tenant", False) == (str(error), error.is_transient)


async def test_huge_message(grpc, far_grpc):
    """A reply that is larger than one can be is not read; the request was taken."""
    far_grpc.answers.append(far_side.message(bytes(1 << 20)))
    assert Accepted() == await grpc.send(parcel())


async def test_back_again(grpc, far_grpc):
    """A connection that broke is made anew."""
    far_grpc.answers.append(far_side.code("UNAVAILABLE", "going away"))
    assert (await failure(grpc)).is_transient
    assert Accepted() == await grpc.send(parcel())
