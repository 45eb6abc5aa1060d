"""OTLP over HTTP: protobuf and JSON on one port, by aiohttp.

Every answer is one of the spec's: 200 with an Export*ServiceResponse, or an error whose body is a google.rpc.Status in
the request's encoding (JSON where that is not known). Never a 500. A sender may retry 503 alone, and hears for how
long to wait. While stopping, requests that have begun are finished and new ones are sent away with 503.

No wait is without an end: 10 s for a request's header, 60 s between requests; a request may take 5 s and a second
more for each KiB that has arrived, 30 s in all. One sweep a second sees to it, so a request sets no timers.

Cost: about 90 us of CPU for a body of 300 kB, 45 us for one of 5 kB, besides unpacking and decoding; of that, 10 us
are ours and the rest aiohttp's. It doubles where malloc maps and unmaps each large block.
Memory: the bytes in flight (`Admission`), and up to 512 KiB per connection that came before we looked at its header.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, cast

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from otel_latency.clock import Clock, SystemClock
from otel_latency.errors import BodyTooLarge, DecodeError, Overloaded, UnsupportedEncoding
from otel_latency.ingest.admission import Admission, Connections, Share
from otel_latency.ingest.compression import decompress
from otel_latency.ingest.faults import Faults
from otel_latency.ingest.intake import Accept, Signal
from otel_latency.ingest.replies import JSON, PROTOBUF, Code, Status, encode_response, encode_status, status_of
from otel_latency.listening import is_loopback

HEADER_TIMEOUT: Final = 10.0
IDLE_TIMEOUT: Final = 60.0
REQUEST_TIMEOUT: Final = 30.0
REQUEST_GRACE: Final = 5.0
MIN_BYTES_PER_SECOND: Final = 1024
LINGER: Final = 2.0
"""How long an unread body is discarded after a refusal: closing at once would reset the connection, and the sender
would see that instead of the refusal."""

log = logging.getLogger(__name__)

_PATHS: Final = {f"/v1/{signal.value}": signal for signal in Signal}
_IS_JSON: Final = {PROTOBUF: False, JSON: True}


class HTTPReceiver:
    """Hands the bodies of OTLP/HTTP requests to *accept*. Port 0 takes a free one; `port` says which."""

    def __init__(
        self,
        accept: Accept,
        *,
        admission: Admission,
        host: str = "127.0.0.1",
        port: int = 4318,
        max_body: int = 4 << 20,
        connections: Connections[Any] | None = None,
        clock: Clock | None = None,
        stop_timeout: float = 3.0,
    ) -> None:
        self.host = host
        self.port = port
        self.clock = clock or SystemClock()
        self.connections: Connections[_Connection] = Connections() if connections is None else connections
        self.faults = Faults(accept, self.clock)
        self._admission = admission
        self._max_body = max_body
        self._stop_timeout = stop_timeout
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._in_progress = 0
        self._stopping = False
        self._drained = asyncio.Event()

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        if not is_loopback(self.host):
            log.warning("OTLP over HTTP listens on %s: other machines can send to it", self.host)
        loop = asyncio.get_running_loop()
        self._server = web.Server(self._serve)
        self._listener = await loop.create_server(self._connection, self.host, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep(), name="otlp-http:sweep")

    async def stop(self) -> None:
        """Finish the requests that have begun, then close every connection. Harmless twice or before `start`."""
        listener, self._listener = self._listener, None
        if listener is None or self._server is None or self._sweeper is None:
            return
        self._stopping = True
        listener.close()
        try:
            async with asyncio.timeout(self._stop_timeout):
                while self._in_progress:
                    self._drained.clear()
                    await self._drained.wait()
        except TimeoutError:
            log.warning("OTLP over HTTP: %d unfinished requests were cut off", self._in_progress)
        self._sweeper.cancel()
        self._server.pre_shutdown()
        await self._server.shutdown(timeout=0.5)

    def cut_slow(self, now: float) -> None:
        """Close what has outlived its time at *now* (monotonic seconds)."""
        if self._server is not None:
            for connection in self._server.connections:
                cast("_Connection", connection).enforce_deadlines(now)

    async def _sweep(self) -> None:
        async for _ in self.clock.ticks(1.0):
            self.cut_slow(self.clock.monotonic())

    def _connection(self) -> _Connection:
        assert self._server is not None
        return _Connection(self, self._server)

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; aiohttp calls it when the header is complete."""
        connection = cast("_Connection", request.protocol)
        connection.begin(request)
        self._in_progress += 1
        try:
            return await self._answer(request)
        except ConnectionError:
            raise  # nobody is left to answer
        except Exception as error:  # noqa: BLE001 - whatever happens, the sender gets a Status
            return self._refuse(request, _refusal_of(error) or self._apologise(error))
        finally:
            connection.end()
            self._in_progress -= 1
            if not self._in_progress:
                self._drained.set()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        signal = _PATHS.get(request.path)
        if signal is None:
            raise _Refusal(404, Status(Code.NOT_FOUND, f"OTLP is taken at {', '.join(_PATHS)}"))
        if request.method != hdrs.METH_POST:
            status = Status(Code.UNIMPLEMENTED, "OTLP requests are POST requests")
            raise _Refusal(405, status, {hdrs.ALLOW: hdrs.METH_POST})
        is_json = _is_json(request)
        if is_json is None:
            raise _Refusal(415, Status(Code.INVALID_ARGUMENT, f"Content-Type must be {PROTOBUF} or {JSON}"))
        if self._stopping:
            raise self._admission.overloaded("the agent is stopping")
        encodings = request.headers.getall(hdrs.CONTENT_ENCODING, ())
        with self._admission.share() as share:
            body = await self._read(request, share)
            if encodings:
                # The share stays what was sent: unpacking and decoding do not await.
                body = decompress(body, ",".join(encodings), self._max_body)
            outcome = self.faults(signal, body, is_json=is_json, transport="http")
            if outcome.keep is not None:
                share.grow(outcome.waiting_bytes)
                await outcome.keep()
        return web.Response(
            body=encode_response(signal, outcome, is_json=is_json), content_type=JSON if is_json else PROTOBUF
        )

    async def _read(self, request: web.BaseRequest, share: Share) -> bytes:
        """The body as sent, charged to *share* as it arrives."""
        announced = request.content_length or 0
        if announced > self._max_body:
            raise self._too_large()
        share.check(announced)
        _invite(request)
        chunks: list[bytes] = []
        while chunk := await request.content.readany():
            share.grow(len(chunk))
            if share.held > self._max_body:
                raise self._too_large()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _refuse(self, request: web.BaseRequest, refusal: _Refusal) -> web.Response:
        is_json = _is_json(request) is not False
        response = web.Response(
            status=refusal.http_status,
            body=encode_status(refusal.status, is_json=is_json),
            content_type=JSON if is_json else PROTOBUF,
            headers=refusal.headers,
        )
        if self._stopping or not request.content.is_eof():
            response.force_close()
        return response

    def _apologise(self, error: Exception) -> _Refusal:
        """What a bug in this module looks like from outside: trouble that may pass."""
        self.faults.report(error, "http")
        return _unavailable(self._admission.overloaded("the request could not be processed, try again"))

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the request is larger than {self._max_body} bytes")


class _Refusal(Exception):
    """An error answer: HTTP status, google.rpc.Status and headers of its own."""

    def __init__(self, http_status: int, status: Status, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status.message)
        self.http_status = http_status
        self.status = status
        self.headers = headers


class _TooSlow(TimeoutError):
    """A request's body did not arrive in time."""


class _Connection(web.RequestHandler):
    """One connection: aiohttp's, with a place in `Connections`, deadlines, and a Status in every error."""

    __slots__ = ("_begun", "_header_begun", "_receiver", "_request")

    def __init__(self, receiver: HTTPReceiver, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=64,
            read_bufsize=128 << 10,
        )
        self._receiver = receiver
        self._request: web.BaseRequest | None = None
        self._begun = 0.0
        self._header_begun: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        try:
            replaced = self._receiver.connections.add(self, peer[0], self._now())
        except Overloaded as error:
            stream = cast("asyncio.Transport", transport)
            stream.write(_raw_refusal(error))
            stream.close()
            return
        if replaced is not None:
            replaced.force_close()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._receiver.connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_begun is None and self._request is None:
            self._header_begun = self._now()
        super().data_received(data)

    def begin(self, request: web.BaseRequest) -> None:
        """A header is complete."""
        self._request = request
        self._begun = self._now()
        self._header_begun = None

    def end(self) -> None:
        """The answer is known."""
        self._request = None
        self._receiver.connections.completed(self, self._now())

    def enforce_deadlines(self, now: float) -> None:
        """Refuse a body that is too slow; close when it is the header, or when our answers are not taken."""
        if self._request is not None:
            content = self._request.content
            allowed = min(REQUEST_TIMEOUT, REQUEST_GRACE + content.total_bytes / MIN_BYTES_PER_SECOND)
            if now - self._begun > allowed:
                content.set_exception(_TooSlow())
        elif self._header_begun is not None and now - self._header_begun > HEADER_TIMEOUT:
            self.force_close()
        elif self.writing_paused and now - self._begun > REQUEST_TIMEOUT and self.transport is not None:
            self.transport.abort()

    def handle_error(self, *_args: Any, **_kwargs: Any) -> web.Response:
        """Answer what aiohttp could not parse. The cause is not repeated: it quotes the request."""
        response = web.Response(
            status=400,
            body=encode_status(Status(Code.INVALID_ARGUMENT, "the HTTP request is malformed"), is_json=True),
            content_type=JSON,
        )
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **kwargs: Any) -> None:
        """Report bugs alone: of a sender's errors aiohttp would log a traceback each, and that quotes the request."""
        error = kwargs.get("exc_info")
        if isinstance(error, Exception) and not isinstance(error, web.RequestPayloadError):
            self._receiver.faults.report(error, "http")

    def _now(self) -> float:
        return self._receiver.clock.monotonic()


def _refusal_of(error: Exception) -> _Refusal | None:
    """The answer to an expected error; None when it is a bug."""
    match error:
        case _Refusal():
            return error
        case Overloaded():
            return _unavailable(error)
        case UnsupportedEncoding():
            return _Refusal(415, status_of(error))
        case BodyTooLarge():
            return _Refusal(413, status_of(error))
        case DecodeError():
            return _Refusal(400, status_of(error))
        case web.RequestPayloadError():
            return _Refusal(400, Status(Code.INVALID_ARGUMENT, "the framing of the body is malformed"))
        case _TooSlow():
            return _Refusal(408, Status(Code.DEADLINE_EXCEEDED, "the body arrives too slowly"))
    return None


def _unavailable(error: Overloaded) -> _Refusal:
    # Python's exporter drops the batch when the wait exceeds what is left of its 10 s, so the wait stays at 1 or 2 s.
    return _Refusal(503, status_of(error), {hdrs.RETRY_AFTER: str(min(max(round(error.retry_after), 1), 2))})


def _raw_refusal(error: Overloaded) -> bytes:
    """The whole 503 for a connection that aiohttp never gets to see."""
    body = encode_status(status_of(error), is_json=True)
    return (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        "Retry-After: 1\r\nConnection: close\r\n\r\n"
    ).encode() + body


def _is_json(request: web.BaseRequest) -> bool | None:
    """Whether the request is in JSON (True) or protobuf (False); None when it says neither."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    is_json = _IS_JSON.get(content_type)
    return _IS_JSON.get(content_type.partition(";")[0].strip().lower()) if is_json is None else is_json


def _invite(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`; the body follows."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None or request.version != HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise _Refusal(417, Status(Code.INVALID_ARGUMENT, "Expect may be 100-continue only"))
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
