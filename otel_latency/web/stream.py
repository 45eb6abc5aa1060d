"""`GET /api/v1/stream`: server-sent events for the live page, a `snapshot` each 250 ms.

    id: 17                      Beside the first snapshot, and beside one after a gap, come events called `history`:
    event: snapshot             what a viewer would have seen in the last minute, in parts. They may be told again of
    data: {"timestamp": ...}    what they know.

One snapshot is made for all viewers, and none while there are none. A viewer who does not keep up misses snapshots
instead of filling our memory: nothing new is sent to who has not taken all that was, of which we hold no more than a
`PIECE` for each, and the system some `SOCKET_BYTES`. Who takes nothing for `STALLED` seconds is cut off. More than
`MAX_VIEWERS` are sent away, and so is a page of another origin.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterator, Sequence
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
PIECE: Final = 16 << 10
HISTORY_EVERY: Final = 3.0
"""Seconds between two histories, however many viewers come or cannot keep up."""
_NOTHING: Final = b": no snapshot this time\n\n"

log = logging.getLogger(__name__)


class Feed(Protocol):
    """What is shown, as JSON of one line."""

    async def snapshot(self) -> bytes:
        """What is now, and what is new since the last one."""

    async def history(self) -> Sequence[bytes]:
        """The last minute, in parts of some KiB."""

    def rest(self) -> None:
        """Nobody looks any more."""


@dataclass(slots=True, eq=False)
class _Viewer:
    """Somebody who looks; `queue` is what they are still to be sent, `took` is when they last took something."""

    transport: asyncio.Transport
    took: float
    needs_history: bool = True
    queue: deque[memoryview] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_stuck(self) -> bool:
        """Whether the last piece is still on its way."""
        return self.transport.get_write_buffer_size() > 0


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
        self._history: Sequence[bytes] = ()
        self._history_due = float("-inf")
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
                while viewer.queue and not viewer.is_stuck:
                    viewer.took = self._clock.monotonic()
                    await response.write(viewer.queue.popleft())
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
            self._snapshot, self._history, self._history_due = b"", (), float("-inf")
            self._feed.rest()

    async def _make(self) -> None:
        """Make snapshots until cancelled; one that fails is not the last."""
        await self._publish()
        async for _ in self._clock.ticks(EVERY):
            await self._publish()

    async def _publish(self) -> None:
        self._history = ()
        try:
            snapshot = await self._feed.snapshot()
            if any(viewer.needs_history for viewer in self._viewers) and self._clock.monotonic() >= self._history_due:
                parts = await self._feed.history()
                self._history = [_event(b"history", part, self._number + 1) for part in parts]
                self._history_due = self._clock.monotonic() + HISTORY_EVERY
        except Exception:
            log.exception("no snapshot for the live page, next try in %g s", EVERY)
            self._snapshot = _NOTHING  # sent, so that those who left are noticed
        else:
            self._number += 1
            self._snapshot = _event(b"snapshot", snapshot, self._number)
        now = self._clock.monotonic()
        for viewer in self._viewers:
            self._tell(viewer, now)

    def _tell(self, viewer: _Viewer, now: float) -> None:
        if viewer.queue or viewer.is_stuck:
            self.dropped += 1
            viewer.needs_history = True
            if now - viewer.took > STALLED:
                viewer.transport.abort()
        else:
            viewer.queue.extend(_pieces(self._snapshot))
            if viewer.needs_history and self._history:
                viewer.needs_history = False
                viewer.queue.extend(piece for part in self._history for piece in _pieces(part))
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


def _pieces(event: bytes) -> Iterator[memoryview]:
    """Without copying it."""
    whole = memoryview(event)
    return (whole[start : start + PIECE] for start in range(0, len(whole), PIECE))


def _event(name: bytes, data: bytes, number: int) -> bytes:
    """JSON has no line breaks outside of strings, and in strings they are escaped."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name, data)
