"""OTLP destinations on loopback that do as they are told, and keep what reached them.

`Sink.answers` are dealt out one to each request; when there are none left, all is well. What arrives is kept before it
is answered, so a request whose answer is lost has arrived.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any, NamedTuple

import grpc
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_latency.records import Signal

REQUESTS = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}
SERVICES = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}


class Arrival(NamedTuple):
    """One request: `body` unpacked; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def batch_id(self) -> str:
        return self.headers["idempotency-key"]


class Sink:
    """Answers are functions: of the request for HTTP, of the context for gRPC."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answers: list[Callable[[Any], Awaitable[Any]]] = []
        self.port = 0
        self._changed = asyncio.Condition()

    @property
    def bodies(self) -> list[bytes]:
        return [arrival.body for arrival in self.arrivals]

    async def has(self, count: int) -> None:
        """Return when so many requests have arrived."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.arrivals) >= count)

    async def take(self, arrival: Arrival) -> Callable[[Any], Awaitable[Any]] | None:
        """Keep it; the answer to give."""
        async with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()
        return self.answers.pop(0) if self.answers else None

    async def handle_http(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await self.take(Arrival(request.path, headers, body))
        return await answer(request) if answer else web.Response(content_type="application/x-protobuf")

    async def handle_grpc(self, path: str, body: bytes, context: Any) -> bytes:
        headers = {name.lower(): value for name, value in context.invocation_metadata()}
        answer = await self.take(Arrival(path, headers, body))
        return await answer(context) if answer else b""


@asynccontextmanager
async def http_sink(tls: SSLContext | None = None) -> AsyncIterator[Sink]:
    """aiohttp unpacks what comes as gzip."""
    sink = Sink()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/{path:.*}", sink.handle_http)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    sink.port = runner.addresses[0][1]
    try:
        yield sink
    finally:
        await runner.cleanup()


@asynccontextmanager
async def grpc_sink(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Sink]:
    sink = Sink()
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1 << 26)))

    def handler(signal: Signal) -> grpc.RpcMethodHandler:
        async def export(body: bytes, context: Any) -> bytes:
            return await sink.handle_grpc(f"/v1/{signal.value}", body, context)

        return grpc.unary_unary_rpc_method_handler(export)

    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(service, {"Export": handler(signal)})
            for signal, service in SERVICES.items()
        ]
    )
    add = server.add_insecure_port if credentials is None else lambda at: server.add_secure_port(at, credentials)
    sink.port = add("127.0.0.1:0")
    await server.start()
    try:
        yield sink
    finally:
        await server.stop(0)


# Answers for HTTP.


def status(number: int, body: bytes = b"", content_type: str = "application/x-protobuf", **headers: str) -> Any:
    """An answer with a status, a body and headers (`Retry_After` for `Retry-After`)."""

    async def answer(_request: web.Request) -> web.Response:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=number, body=body, headers={"Content-Type": content_type, **shown})

    return answer


async def silence(_request: Any) -> Any:
    """No answer until the client leaves."""
    await asyncio.Event().wait()


async def reset(request: web.Request) -> web.Response:
    """The connection breaks after the request was taken."""
    request.transport.abort()
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    """A reply that goes on as long as somebody reads."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-protobuf"})
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 16))


async def bomb(_request: web.Request) -> web.Response:
    """A reply that unpacks to 64 MiB."""
    return web.Response(body=gzip.compress(bytes(1 << 26), 1), headers={"Content-Encoding": "gzip"})


# Answers for gRPC.


def code(name: str, details: str = "", **trailers: bytes) -> Any:
    """A status, and trailers (`a_b` for `a-b`)."""

    async def answer(context: Any) -> bytes:
        sent = tuple((key.replace("_", "-"), value) for key, value in trailers.items())
        await context.abort(grpc.StatusCode[name], details, sent)
        return b""

    return answer


def message(body: bytes) -> Any:
    """OK with this message."""

    async def answer(_context: Any) -> bytes:
        return body

    return answer
