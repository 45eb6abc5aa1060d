"""`GET /api/v1/stream`: server-sent events for the live page, a `snapshot` each 250 ms.

    id: 17                      event: history comes first, and again after a gap: what a viewer would have seen
    event: snapshot             in the last minute. Everything in between is news since the snapshot before.
    data: {"timestamp": ...}

One snapshot is made for all viewers, and none while there are none. A viewer who does not keep up misses snapshots
instead of filling our memory: at most one is on its way to each, and the system buffers no more than `SOCKET_BYTES`
of it. Who takes nothing for `STALLED` seconds is cut off. More than `MAX_VIEWERS` are sent away, and so is a page of
another origin.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from otel_latency.clock import Clock
from otel_latency.web.app import Route
from otel_latency.web.replies import reply

EVERY: Final = 0.25
MAX_VIEWERS: Final = 50
STALLED: Final = 30.0
RETRY_MS: Final = 1000
SOCKET_BYTES: Final = 64 << 10
_NOTHING: Final = b": no snapshot this time\n\n"

log = logging.getLogger(__name__)


class Feed(Protocol):
    """What is shown, as JSON of one line."""

    async def snapshot(self) -> bytes:
        """What is now, and what is new since the last one."""

    async def history(self) -> bytes:
        """The last minute."""

    def rest(self) -> None:
        """Nobody looks any more."""


@dataclass(slots=True, eq=False)
class _Viewer:
    """Somebody who looks; `needs_history` until it is sent to them, `took` is when they last took something."""

    transport: asyncio.Transport
    took: float
    needs_history: bool = True
    is_busy: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_behind(self) -> bool:
        """Whether something is still on its way to them."""
        return self.is_busy or self.news.is_set() or self.transport.get_write_buffer_size() > 0


class Stream:
    """Shows *feed* to everybody who asks; `close` ends it at once."""

    def __init__(self, feed: Feed, clock: Clock, *, max_viewers: int = MAX_VIEWERS) -> None:
        self._feed = feed
        self._clock = clock
        self._max_viewers = max_viewers
        self._viewers: set[_Viewer] = set()
        self._making: asyncio.Task[None] | None = None
        self._is_closed = False
        self._number = 0
        self._snapshot = b""
        self._history = b""
        self.dropped = 0
        """Snapshots that a viewer missed, since it had not taken the one before."""

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def route(self) -> Route:
        """Guarded by the Host header, and by Origin: a page of somebody else has no business here."""
        return Route("/api/v1/stream", self._get)

    def close(self) -> None:
        """Send everybody away; harmless twice."""
        self._is_closed = True
        self._rest()
        for viewer in self._viewers:
            viewer.news.set()
            if viewer.is_busy:
                viewer.transport.abort()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if not is_same_origin(request):
            return reply({"error": "pages of another origin are not served here"}, status=403)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        if len(self._viewers) >= self._max_viewers or self._is_closed:
            refusal = reply({"error": f"{len(self._viewers)} look already: close a page"}, status=503)
            refusal.headers["Retry-After"] = "10"
            return refusal
        await response.prepare(request)
        transport = request.transport
        if transport is not None:
            _keep_small(transport)
            await self._show(response, transport)
        return response

    async def _show(self, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        viewer = _Viewer(transport, took=self._clock.monotonic())
        self._viewers.add(viewer)
        self._wake()
        try:
            await response.write(b"retry: %d\n\n" % RETRY_MS)
            while True:
                await viewer.news.wait()
                if self._is_closed or transport.is_closing():
                    return
                viewer.news.clear()
                viewer.is_busy = True
                missed = self._history if viewer.needs_history else b""
                viewer.needs_history = viewer.needs_history and not missed
                await response.write(missed + self._snapshot)
                viewer.is_busy = False
        except ConnectionResetError:
            return
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._rest()

    def _wake(self) -> None:
        if self._making is None:
            self._making = asyncio.create_task(self._make(), name="live")

    def _rest(self) -> None:
        making, self._making = self._making, None
        if making is not None:
            making.cancel()
            self._snapshot = self._history = b""
            self._feed.rest()

    async def _make(self) -> None:
        """Make snapshots until cancelled; one that fails is not the last."""
        await self._publish()
        async for _ in self._clock.ticks(EVERY):
            await self._publish()

    async def _publish(self) -> None:
        try:
            snapshot = await self._feed.snapshot()
            is_asked = any(viewer.needs_history and not viewer.is_behind for viewer in self._viewers)
            history = await self._feed.history() if is_asked else b""
        except Exception:
            log.exception("no snapshot for the live page, next try in %g s", EVERY)
            self._history, self._snapshot = b"", _NOTHING  # sent, so that those who left are noticed
        else:
            self._number += 1
            self._history = _event(b"history", history, self._number) if is_asked else b""
            self._snapshot = _event(b"snapshot", snapshot, self._number)
        now = self._clock.monotonic()
        for viewer in self._viewers:
            self._tell(viewer, now)

    def _tell(self, viewer: _Viewer, now: float) -> None:
        if viewer.is_behind:
            self.dropped += 1
            viewer.needs_history = True
            if now - viewer.took > STALLED:
                viewer.transport.abort()
        elif self._history or not viewer.needs_history or self._snapshot is _NOTHING:
            viewer.took = now
            viewer.news.set()


def is_same_origin(request: web.Request) -> bool:
    """Whether the page that asks, if it is one, came from here."""
    origins = request.headers.getall("Origin", ())
    if not origins:
        return True
    try:
        asking = urlsplit(origins[0])
    except ValueError:
        return False
    return len(origins) == 1 and asking.scheme in {"http", "https"} and asking.netloc.lower() == request.host.lower()


def _keep_small(transport: asyncio.Transport) -> None:
    """Have the system keep little of what a viewer has not taken: it would be old by then."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)


def _event(name: bytes, data: bytes, number: int) -> bytes:
    """JSON has no line breaks outside of strings, and in strings they are escaped."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name, data)
