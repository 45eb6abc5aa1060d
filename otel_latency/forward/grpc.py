"""OTLP over gRPC to one destination, by grpc.aio, which is imported with the first request: it costs 8 MiB.

The bytes are sent as they are, without generated classes. grpcio packs them itself, on the loop, so only requests up
to `MAX_PACKED` are: 5 ms. Proxies of the environment are not used, and replies are read up to 64 KiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from otel_latency import outbound
from otel_latency.errors import ConfigError, ForwardError
from otel_latency.forward import reply
from otel_latency.forward.batch import Accepted, Parcel
from otel_latency.forward.credentials import Credentials
from otel_latency.forward.worker import Worker
from otel_latency.records import Signal

if TYPE_CHECKING:
    import grpc

BATCH_ID: Final = "idempotency-key"
MAX_PACKED: Final = 1 << 20

_METHODS: Final = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_OPTIONS: Final = (
    ("grpc.primary_user_agent", "otel-latency"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # retrying is our part
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", outbound.MAX_REPLY),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is to make a new connection
)
_REPLY_TOO_LARGE: Final = "CLIENT: Received message larger than max"


class GRPCTransport:
    """A `Transport`. *target* is host and port; *is_secure* asks for TLS, *is_packed* for gzip."""

    is_gzip = False
    takes_json = False

    def __init__(
        self,
        target: str,
        credentials: Credentials,
        worker: Worker,
        *,
        is_secure: bool,
        is_packed: bool = True,
        timeout: float = 10.0,
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._worker = worker
        self._is_secure = is_secure
        self._is_packed = is_packed
        self._timeout = timeout
        self._channel: grpc.aio.Channel | None = None
        self._opening = asyncio.Lock()

    async def send(self, parcel: Parcel) -> Accepted:
        """See `Transport`."""
        import grpc

        try:
            channel, metadata = await self._opened(), await self._metadata(parcel)
        except ConfigError as error:
            raise ForwardError(str(error), reason="configuration", is_transient=True) from None
        is_packed = self._is_packed and len(parcel.data) <= MAX_PACKED
        call = channel.unary_unary(_METHODS[parcel.signal])(
            parcel.data,
            timeout=self._timeout,
            metadata=metadata,
            compression=grpc.Compression.Gzip if is_packed else grpc.Compression.NoCompression,
        )
        secrets = self._credentials.secrets
        try:
            return reply.partial_success(await call, is_json=False, secrets=secrets)
        except grpc.aio.AioRpcError as error:
            details = error.details() or ""
            if _REPLY_TOO_LARGE in details:
                return Accepted()  # that there is a reply means that the request was taken
            raise reply.of_grpc_error(error.code().name, details, _trailers(error), secrets=secrets) from None

    async def renew(self) -> None:
        """See `Transport`."""
        await self.close()

    async def close(self) -> None:
        """See `Transport`."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _opened(self) -> grpc.aio.Channel:
        async with self._opening:
            if self._channel is None:
                self._channel = await self._connected()
            return self._channel

    async def _connected(self) -> grpc.aio.Channel:
        import grpc.aio

        if not self._is_secure:
            return grpc.aio.insecure_channel(self._target, options=_OPTIONS)
        authorities, key, certificate = await self._worker(self._credentials.pem)
        credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
        return grpc.aio.secure_channel(self._target, credentials, options=_OPTIONS)

    async def _metadata(self, parcel: Parcel) -> tuple[tuple[str, str], ...]:
        credentials = self._credentials
        ours = await self._worker(credentials.read) if credentials.are_in_files else credentials.known
        return ((BATCH_ID, parcel.id), *((name.lower(), value) for name, value in ours.items()))


def _trailers(error: Any) -> Mapping[str, bytes]:
    return {key: value for key, value in error.trailing_metadata() or () if isinstance(value, bytes)}
