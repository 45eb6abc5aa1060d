"""OTLP over gRPC, by grpc.aio, which is imported when the receiver starts: it costs 8 MiB.

A message is read only when there is room for it: the handlers are registered as taking a stream, which looks the same
on the wire and leaves it to us when to ask for the message. So at most `READERS` messages are in memory at once, and
whoever is turned away hears so from us, with the time to come back; grpcio's own limits would say RESOURCE_EXHAUSTED
without one, and clients would drop the data. Only oversize messages are refused by grpcio, unpacked size included,
and there RESOURCE_EXHAUSTED without a time is what the spec asks for.

Nothing here answers UNKNOWN or INTERNAL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from otel_latency.clock import Clock, SystemClock
from otel_latency.errors import OtelLatencyError
from otel_latency.ingest.admission import Admission, Share
from otel_latency.ingest.faults import Faults
from otel_latency.ingest.intake import Accept, Signal
from otel_latency.ingest.replies import Status, encode_response, encode_retry_info, encode_status, shorten, status_of
from otel_latency.listening import in_url, is_loopback

if TYPE_CHECKING:
    import grpc

READERS: Final = 4
WAITING_CONNECTIONS: Final = 4
"""Connections whose calls may wait for a reader. Few: grpcio buffers for each of them, up to a megabyte."""
READ_TIMEOUT: Final = 10.0
"""A message that takes longer has lost its sender: exporters give up after 10 s."""

_SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second agent on the port has to fail, not to share
    # Not fewer: grpcio resets calls beyond this number, and clients then see a connection that fails.
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_metadata_size", 8 << 10),
    ("grpc.absolute_max_metadata_size", 16 << 10),
    # Small windows that stay small: by default they grow to megabytes for each connection.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 << 10),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

log = logging.getLogger(__name__)


class GRPCReceiver:
    """Hands the messages of OTLP/gRPC requests to *accept*. Port 0 takes a free one; `port` says which."""

    def __init__(
        self,
        accept: Accept,
        *,
        admission: Admission,
        host: str = "127.0.0.1",
        port: int = 4317,
        max_message: int = 2 << 20,
        clock: Clock | None = None,
        stop_timeout: float = 3.0,
    ) -> None:
        self.host = host
        self.port = port
        self._faults = Faults(accept, clock or SystemClock())
        self._admission = admission
        self._max_message = max_message
        self._stop_timeout = stop_timeout
        self._readers = asyncio.Semaphore(READERS)
        self._waiting: Counter[str] = Counter()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        # Read once, at import: gRPC's core would write to stderr past our log what its callers are told anyway.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc  # here because it is large, and the receiver may be off

        _try_to_bind(self.host, self.port)
        if not is_loopback(self.host):
            log.warning("OTLP over gRPC listens on %s: other machines can send to it", self.host)
        server = grpc.aio.server(options=[*_OPTIONS, ("grpc.max_receive_message_length", self._max_message)])
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    service, {"Export": grpc.stream_unary_rpc_method_handler(self._handler(signal))}
                )
                for signal, service in _SERVICES.items()
            ]
        )
        try:
            self.port = server.add_insecure_port(f"{in_url(self.host)}:{self.port}")
        except RuntimeError as error:
            raise OSError(f"OTLP over gRPC cannot listen on {in_url(self.host)}:{self.port}") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Refuse new requests, finish those that have begun. Harmless twice or before `start`."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(self._stop_timeout)

    def _handler(self, signal: Signal) -> Callable[[Any, grpc.aio.ServicerContext[bytes, bytes]], Awaitable[bytes]]:
        async def export(_messages: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            try:
                return await self._export(signal, context)
            except OtelLatencyError as error:
                status = status_of(error)
            except Exception as error:  # noqa: BLE001 - grpcio would answer UNKNOWN and quote it
                self._faults.report(error, "grpc")
                status = status_of(self._admission.overloaded("the request could not be processed, try again"))
            # Not before here: grpcio keeps what `abort` raises, and with it, for a while, the frames of an error that
            # is being handled, which hold the message.
            return await _abort(context, status)

        return export

    async def _export(self, signal: Signal, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await self._reader(context.peer())
        try:
            with self._admission.share() as share:
                body = await self._read(context, share)
                if body is None:
                    return b""
                outcome = self._faults(signal, body, is_json=False, transport="grpc")
                if outcome.keep is not None:
                    share.grow(outcome.waiting_bytes)
                    await outcome.keep()
        finally:
            self._readers.release()
        return encode_response(signal, outcome, is_json=False)

    async def _reader(self, peer: str) -> None:
        """Take one of the readers, or raise Overloaded when too many connections wait for one."""
        if len(self._waiting) >= WAITING_CONNECTIONS and peer not in self._waiting:
            raise self._admission.overloaded("too many requests")
        self._waiting[peer] += 1
        try:
            await self._readers.acquire()
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]

    async def _read(self, context: grpc.aio.ServicerContext[bytes, bytes], share: Share) -> bytes | None:
        """The message, unpacked. Its size is not known before, so the largest is charged until it is here.

        None when there is none: grpcio has refused it for its size and told the sender (a second status would be an
        error), or none was sent.
        """
        share.grow(self._max_message)
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                message = await context.read()
        except TimeoutError:
            raise self._admission.overloaded("the message arrives too slowly") from None
        if not isinstance(message, bytes):
            return None
        share.shrink_to(len(message))
        return message


async def _abort(context: grpc.aio.ServicerContext[bytes, bytes], status: Status) -> NoReturn:
    import grpc  # loaded by `start`

    trailers = [("grpc-status-details-bin", encode_status(status, is_json=False))]
    if status.retry_after is not None:
        # Python's exporter looks for the wait here and nowhere else.
        trailers.append(("google.rpc.retryinfo-bin", encode_retry_info(status.retry_after)))
    await context.abort(grpc.StatusCode[status.code.name], shorten(status.message), tuple(trailers))
    raise AssertionError("abort has raised")


def _try_to_bind(host: str, port: int) -> None:
    """Raise the OSError that tells why; grpcio itself only says that it could not."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
