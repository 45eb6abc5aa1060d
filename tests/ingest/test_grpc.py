import asyncio
import subprocess
import sys

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from otel_latency.errors import BodyTooLarge, DecodeError, Overloaded
from otel_latency.ingest.admission import Admission
from otel_latency.ingest.grpc import READERS, WAITING_CONNECTIONS, GRPCReceiver
from otel_latency.ingest.intake import Outcome, Signal

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}


@pytest.fixture
async def channel(grpc_receiver):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_receiver.port}") as channel:
        yield channel


async def refusal(call):
    """Code, message, Status and RetryInfo of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailers = dict(error.value.trailing_metadata())
    status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    retry_info = trailers.get("google.rpc.retryinfo-bin")
    return error.value.code(), error.value.details(), status, retry_info and RetryInfo.FromString(retry_info)


async def wait_for(condition):
    """Let the loop run until *condition* holds; fail when it never does."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def open_call(channel, body=None):
    """A call that sends its message only when told to, as a slow sender does."""
    go = asyncio.Event()

    async def messages():
        await go.wait()
        yield body or b""

    return channel.stream_unary(EXPORT)(messages()), go


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("compression", grpc.Compression)
async def test_accepts(channel, recorder, signal, compression):
    """Each service takes messages as they are, gzipped and deflated, and answers a success with an empty message."""
    body = b"\x0a\x00" * 500
    assert await channel.unary_unary(f"/{SERVICES[signal]}/Export")(body, compression=compression) == b""
    assert recorder.calls == [(signal, body, False, "grpc")]


@pytest.mark.parametrize("stub", [TraceServiceStub, MetricsServiceStub, LogsServiceStub])
async def test_generated_stubs(channel, recorder, stub):
    """The generated clients see an ordinary unary service."""
    request = ExportTraceServiceRequest()
    response = await stub(channel).Export(request)
    assert not response.HasField("partial_success")
    assert len(recorder.calls) == 1


async def test_partial_success(channel, recorder):
    """What the intake rejects is told to the sender."""
    recorder.outcome = Outcome(2, "no id")
    response = ExportTraceServiceResponse.FromString(await channel.unary_unary(EXPORT)(b"x"))
    assert (response.partial_success.rejected_spans, response.partial_success.error_message) == (2, "no id")


async def test_bad_data(channel, recorder):
    """Bad data is INVALID_ARGUMENT with a BadRequest detail, and not to be sent again."""
    recorder.outcome = DecodeError("bad é")
    code, message, status, retry_info = await refusal(channel.unary_unary(EXPORT)(b"x"))
    detail = BadRequest()
    assert (code, message, status.code, retry_info) == (grpc.StatusCode.INVALID_ARGUMENT, "bad é", 3, None)
    assert status.details[0].Unpack(detail)


async def test_too_many_items(channel, recorder):
    """A message with too much in it is RESOURCE_EXHAUSTED, without a time to come back."""
    recorder.outcome = BodyTooLarge("too many spans")
    code, message, status, retry_info = await refusal(channel.unary_unary(EXPORT)(b"x"))
    assert (code, message, retry_info) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many spans", None)
    assert list(status.details) == []


async def test_overload(channel, recorder):
    """An overload is UNAVAILABLE and says in both places when to come back."""
    recorder.outcome = Overloaded("full", 1.5)
    code, message, status, retry_info = await refusal(channel.unary_unary(EXPORT)(b"x"))
    detail = RetryInfo()
    assert (code, message, status.code) == (grpc.StatusCode.UNAVAILABLE, "full", 14)
    assert status.details[0].Unpack(detail)
    assert detail == retry_info
    assert (retry_info.retry_delay.seconds, retry_info.retry_delay.nanos) == (1, 500_000_000)


@pytest.mark.parametrize("error", [KeyError("sk-secret"), RecursionError("sk-secret"), MemoryError()])
async def test_bug(channel, recorder, error):
    """A bug is UNAVAILABLE once and INVALID_ARGUMENT after that, never UNKNOWN, and quotes nothing."""
    recorder.outcome = error
    answers = [await refusal(channel.unary_unary(EXPORT)(b"x")) for _ in range(2)]
    assert [code.name for code, *_ in answers] == ["UNAVAILABLE", "INVALID_ARGUMENT"]
    assert "sk-secret" not in str(answers)


async def test_longest_message(channel, recorder):
    """The longest message text fits into the metadata that clients take."""
    recorder.outcome = DecodeError("é\n" * 10_000)
    code, *_ = await refusal(channel.unary_unary(EXPORT)(b"x"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("compression", grpc.Compression)
async def test_oversize(channel, recorder, grpc_receiver, capfd, compression):
    """A message over the limit, unpacked, is RESOURCE_EXHAUSTED without RetryInfo; one at the limit passes."""
    export = channel.unary_unary(EXPORT)
    assert await export(bytes(2 << 20), compression=compression) == b""
    code, _, status, retry_info = await refusal(export(bytes((2 << 20) + 1), compression=compression))
    assert (code, list(status.details), retry_info) == (grpc.StatusCode.RESOURCE_EXHAUSTED, [], None)
    assert await export(b"x") == b""
    assert [len(call.body) for call in recorder.calls] == [2 << 20, 1]
    assert grpc_receiver._admission.in_flight == 0
    assert "Traceback" not in capfd.readouterr().err


async def test_unknown_method(channel):
    """Other services and methods are UNIMPLEMENTED."""
    for method in ("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", EXPORT + "2"):
        code, *_ = await refusal(channel.unary_unary(method)(b""))
        assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_concurrent_calls(channel, recorder):
    """Many calls at once on one connection are all answered."""
    export = channel.unary_unary(EXPORT)
    assert await asyncio.gather(*[export(b"%d" % number) for number in range(80)]) == [b""] * 80
    assert sorted(int(call.body) for call in recorder.calls) == list(range(80))


async def test_no_message(channel, recorder):
    """A call that ends without a message is nothing to do."""

    async def nothing():
        return
        yield

    assert await channel.stream_unary(EXPORT)(nothing()) == b""
    assert recorder.calls == []


async def test_slow_senders_fill_the_readers(grpc_receiver, recorder):
    """Beyond the readers the calls of a few connections wait; others hear when to come back."""
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{grpc_receiver.port}", [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(READERS + WAITING_CONNECTIONS + 1)
    ]
    *reading, spare = channels[: READERS + 1]
    waiting = channels[READERS + 1 :]
    calls = [open_call(channel, b"x") for channel in reading]
    await wait_for(grpc_receiver._readers.locked)
    calls += [open_call(channel, b"x") for channel in waiting]
    await wait_for(lambda: len(grpc_receiver._waiting) == WAITING_CONNECTIONS)
    calls.append(open_call(waiting[0], b"x"))  # a connection that waits already may add to its calls
    await wait_for(lambda: grpc_receiver._waiting.total() == WAITING_CONNECTIONS + 1)
    code, _, _, retry_info = await refusal(spare.unary_unary(EXPORT)(b"y"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert 1 <= retry_info.retry_delay.seconds <= 2
    for _, go in calls:
        go.set()
    assert await asyncio.gather(*[call for call, _ in calls]) == [b""] * len(calls)
    assert await spare.unary_unary(EXPORT)(b"y") == b""
    for channel in channels:
        await channel.close()


async def test_budget(recorder):
    """The budget is charged before a message is read; a call that does not fit is sent away."""
    admission = Admission(3 << 20)
    receiver = GRPCReceiver(recorder, admission=admission, port=0)
    await receiver.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
        slow, go = open_call(channel, b"x")
        await wait_for(lambda: admission.in_flight == 2 << 20)
        code, *_ = await refusal(channel.unary_unary(EXPORT)(b"y"))
        assert code is grpc.StatusCode.UNAVAILABLE
        go.set()
        assert await slow == b""
    assert admission.in_flight == 0
    await receiver.stop()


async def test_deadline(channel, grpc_receiver):
    """A call whose deadline passes while its message is awaited gives its place back."""
    call = channel.stream_unary(EXPORT)(_never(), timeout=0.05)
    code, *_ = await refusal(call)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lambda: grpc_receiver._admission.in_flight == 0)
    assert await channel.unary_unary(EXPORT)(b"x") == b""


async def _never():
    await asyncio.Event().wait()
    yield b""


async def test_stop_finishes_what_has_begun(recorder):
    """While stopping, a call that has begun is finished and new ones are UNAVAILABLE."""
    receiver = GRPCReceiver(recorder, admission=Admission(), port=0)
    await receiver.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
        begun, go = open_call(channel, b"begun")
        await wait_for(lambda: receiver._admission.in_flight)
        stopping = asyncio.create_task(receiver.stop())
        await asyncio.sleep(0)
        go.set()
        assert await begun == b""
        await stopping
        code, *_ = await refusal(channel.unary_unary(EXPORT)(b"late"))
        assert code is grpc.StatusCode.UNAVAILABLE
    assert [call.body for call in recorder.calls] == [b"begun"]


async def test_stop_is_harmless(recorder):
    """Stopping before the start, twice, or at the same time twice does nothing more than stopping."""
    receiver = GRPCReceiver(recorder, admission=Admission(), port=0)
    await receiver.stop()
    await receiver.start()
    await asyncio.gather(receiver.stop(), receiver.stop())
    await receiver.stop()


async def test_port_taken(grpc_receiver, recorder):
    """A port that is taken is an OSError at the start: it is not shared."""
    receiver = GRPCReceiver(recorder, admission=Admission(), port=grpc_receiver.port)
    with pytest.raises(OSError, match="Address already in use"):
        await receiver.start()
    await receiver.stop()


def test_import_is_light():
    """Importing the module, or making a receiver, does not load grpcio."""
    code = (
        "import sys; from otel_latency.ingest.admission import Admission\n"
        "from otel_latency.ingest.grpc import GRPCReceiver\n"
        "GRPCReceiver(None, admission=Admission()); print('grpc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
