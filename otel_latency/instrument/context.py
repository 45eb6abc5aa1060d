"""Which of our spans is the current one, kept in OpenTelemetry's context.

OpenTelemetry's tokens are not used. A span that closes puts the context back that it found, but only where it was
opened and while its own is still the current one; so closing in another task, in another order or twice can neither
fail nor log "Failed to detach context". A span that is closed anywhere else is marked `is_adrift`, and whoever meets it
later looks behind it. A task that outlives its turn does belong to it: that turn was closed where it was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, cast

from opentelemetry import baggage
from opentelemetry.context import Context, attach, create_key, get_current
from opentelemetry.trace import INVALID_SPAN, Span, set_span_in_context

if TYPE_CHECKING:
    from otel_latency.instrument.span import Timed
    from otel_latency.instrument.turn import Turn

CURRENT: Final = create_key("otel-latency-current")
(SPAN,) = set_span_in_context(INVALID_SPAN, Context())
"""OpenTelemetry's own key of the current span."""
((BAGGAGE, _example),) = baggage.set_baggage("key", "value", Context()).items()
"""... and of the baggage, with what it is kept in."""
_baggage: Final[Callable[[Mapping[str, object]], object]] = type(_example)


place: Final[ContextVar[None]] = ContextVar("otel-latency-place", default=None)
"""Holds nothing: its tokens tell whether a span closes in the thread or task that opened it."""


def current(context: Context | None = None) -> Timed | None:
    """The innermost span of ours around the caller, or in *context*."""
    return cast("Timed | None", behind_drift(get_current() if context is None else context).get(CURRENT))


def current_turn() -> Turn | None:
    """The turn that the caller works for: to set attributes and milestones on it from anywhere within."""
    around = current()
    return None if around is None else around.turn


def entered(outer: Context, span: Span, timed: Timed, told: Mapping[str, object] | None = None) -> Context:
    """*outer* with *span* and *timed* as the current ones, and the baggage *told*, in one copy."""
    if told is None:
        return Context({**outer, SPAN: span, CURRENT: timed})
    return Context({**outer, SPAN: span, CURRENT: timed, BAGGAGE: _baggage(told)})


def leave(timed: Timed, own: Context, token: Token[None]) -> None:
    """Make current what was before *timed*, if its *own* context still is."""
    try:
        place.reset(token)
    except ValueError:
        timed.is_adrift = True
        return
    if get_current() is own and timed.outer is not None:
        attach(behind_drift(timed.outer))
        timed.outer = None  # whoever keeps this span keeps none of those around it
    else:
        timed.is_adrift = True


def behind_drift(context: Context) -> Context:
    """*context*, or the nearest around it whose span of ours did not close out of order."""
    timed = cast("Timed | None", context.get(CURRENT))
    while timed is not None and timed.is_adrift and timed.outer is not None:
        context = timed.outer
        timed = cast("Timed | None", context.get(CURRENT))
    return context
