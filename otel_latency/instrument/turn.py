"""A user request from its first to its last byte: the span that stages belong to.

Its session and request id travel in baggage, so that the spans of other processes carry them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Self
from uuid import uuid4

from opentelemetry import baggage
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument import subscribe
from otel_latency.instrument.attributes import carried
from otel_latency.instrument.context import entered
from otel_latency.instrument.session import session_seen
from otel_latency.instrument.span import After, Timed


class Turn(Timed):
    """Times a turn, as a decorator, in `with` or in `async with`. *budget* and *timeout* are those of a stage.

    *session* and *request_id* are taken from the caller's baggage where they are not given; a turn without a request
    id uses its trace id. *started_at* (nanoseconds of the monotonic clock) is the end of the user's speech when it was
    noticed only later: every milestone of the turn counts from there.
    """

    __slots__ = ("_request_id", "_session", "_started_at", "request_id", "session")

    word: ClassVar[str] = "turn"
    is_always_kept: ClassVar[bool] = True
    is_anchor: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        /,
        *,
        session: str | None = None,
        budget: float | None = None,
        timeout: float | None = None,
        request_id: str | None = None,
        after: After | list[After] | None = None,
        started_at: int | None = None,
        **attributes: AttributeValue | None,
    ) -> None:
        super().__init__(name, budget, timeout, after, carried({**attributes, semconv.TURN: name}))
        self._session = self.session = session
        self._request_id = self.request_id = request_id
        self._started_at = started_at

    def fresh(self) -> Self:
        twin = super().fresh()
        twin._session = twin.session = self._session
        twin._request_id = twin.request_id = self._request_id
        twin._started_at = None
        return twin

    def _begin(self, started_at: int | None = None) -> None:
        super()._begin(started_at or self._started_at)
        self.turn = self
        outer = self.outer or get_current()
        self.session = self._session or _text(baggage.get_baggage(semconv.SESSION, outer))
        self.request_id = (
            self._request_id
            or _text(baggage.get_baggage(semconv.REQUEST_ID, outer))
            or _new_request_id(self.span_context)
        )
        ids = {semconv.SESSION: self.session, semconv.REQUEST_ID: self.request_id}
        self.span.set_attributes(carried(ids))
        self._travel(outer, ids)
        if self.session:
            session_seen(self.session)
        if subscribe.callbacks:
            subscribe.publish("turn_started", self)

    def _travel(self, outer: Context, ids: Mapping[str, str | None]) -> None:
        """Put the ids into the baggage of what happens within."""
        for key, value in ids.items():
            if value is not None:
                outer = baggage.set_baggage(key, value, outer)
        self._own = entered(outer, self.span, self)
        attach(self._own)

    def labels(self) -> dict[str, AttributeValue]:
        return {semconv.STAGE: self.name, semconv.TURN: self.name}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _new_request_id(span_context: SpanContext) -> str:
    return f"{span_context.trace_id:032x}" if span_context.is_valid else uuid4().hex


turn: Final = Turn
