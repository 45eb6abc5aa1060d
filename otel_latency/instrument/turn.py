"""A user request from its first to its last byte: the span that stages belong to.

Its session and request id travel in baggage, so that the spans of other processes carry them too.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self
from uuid import uuid4

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext
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
        ids = {semconv.SESSION: session or None, semconv.REQUEST_ID: request_id or None}
        super().__init__(name, budget, timeout, after, carried({**attributes, semconv.TURN: name, **ids}))
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
        if subscribe.callbacks:
            if self.session:
                session_seen(self.session)
            subscribe.publish("turn_started", self)

    def _context(self, outer: Context, span: Span) -> Context:
        """With the ids in the baggage of what happens within."""
        told = baggage.get_all(outer)
        if not self._session and (session := _text(told.get(semconv.SESSION))) is not None:
            self.session = session
            self.settle({semconv.SESSION: session})
        if not self._request_id:
            self.request_id = _text(told.get(semconv.REQUEST_ID)) or _new_request_id(span.get_span_context())
            self.settle({semconv.REQUEST_ID: self.request_id})
        session_told = {} if self.session is None else {semconv.SESSION: self.session}
        return entered(outer, span, self, {**told, **session_told, semconv.REQUEST_ID: self.request_id})

    def _inherit(self, outer: Context) -> None:
        """A turn does that before: what it was given goes first."""

    @property
    def turn(self) -> Turn:
        """Itself. Were that kept, only the garbage collector would free it."""
        return self

    def labels(self) -> dict[str, AttributeValue]:
        return {semconv.STAGE: self.name, semconv.TURN: self.name}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _new_request_id(span_context: SpanContext) -> str:
    return f"{span_context.trace_id:032x}" if span_context.is_valid else uuid4().hex


turn: Final = Turn
