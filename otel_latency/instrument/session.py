"""Turns that belong together: `with session(id)` gives its id to every turn within, in this process and in others.

A session has no span of its own, since it may outlive any trace; it is known by the `session.id` of its turns.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from opentelemetry import baggage
from opentelemetry.context import Context, attach, get_current

from otel_latency import semconv
from otel_latency.instrument import subscribe
from otel_latency.instrument.subscribe import TelemetryEvent

MAX_KNOWN: Final = 10_000

_started: dict[str, float] = {}
"""Session -> Unix seconds, the oldest first; kept only while somebody subscribes."""


class Session:
    """`with` or `async with`; subscribers hear of its start and end."""

    def __init__(self, session: str, /) -> None:
        self.id = session

    def __enter__(self) -> Self:
        self._outer = get_current()
        self._own: Context = baggage.set_baggage(semconv.SESSION, self.id, self._outer)
        attach(self._own)
        session_seen(self.id)
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        if get_current() is self._own:
            attach(self._outer)
        if subscribe.callbacks:
            now = time.time()
            seconds = now - _started.pop(self.id, now)
            status = "ok" if failure is None else "error"
            subscribe.tell(
                TelemetryEvent("session_completed", self.id, now, seconds=seconds, status=status, session=self.id)
            )

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, failure, trace)


def session_seen(session: str) -> None:
    """A turn of *session* begins, or the session itself."""
    if not subscribe.callbacks or session in _started:
        return
    while len(_started) >= MAX_KNOWN:
        _started.pop(next(iter(_started)), None)
    _started[session] = now = time.time()
    subscribe.tell(TelemetryEvent("session_started", session, now, session=session))


session: Final = Session
