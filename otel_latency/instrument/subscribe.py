"""User code that wants to know: called when a turn, stage, LLM call or session starts or ends in this process.

A callback runs in the thread that did the work, right after it; what it raises is counted and goes no further. Without
subscribers this costs one look at an empty tuple.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from otel_latency.instrument.guard import guard

if TYPE_CHECKING:
    from otel_latency.instrument.llm import LLMCall
    from otel_latency.instrument.span import Timed

EVENTS: Final = (
    "session_started",
    "session_completed",
    "turn_started",
    "turn_completed",
    "stage_completed",
    "llm_completed",
)


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """What happened. `seconds` is its length so far; `milestones` are seconds from its start; ids are hex or empty.

    `work` is the turn, stage or call itself, None for a session.
    """

    event: str
    name: str
    time: float
    seconds: float = 0.0
    status: str = "ok"
    session: str = ""
    request_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    milestones: Mapping[str, float] = field(default_factory=dict)
    work: Timed | LLMCall | None = None


Callback = Callable[[TelemetryEvent], object]

callbacks: tuple[tuple[Callback, str | None], ...] = ()
_change = threading.Lock()


def subscribe(callback: Callback, *, event: str | None = None) -> Callable[[], None]:
    """Call *callback* on every event, or on those named *event* (one of `EVENTS`). The answer ends that."""
    global callbacks  # noqa: PLW0603
    entry = (callback, event)
    with _change:
        callbacks = (*callbacks, entry)

    def unsubscribe() -> None:
        global callbacks  # noqa: PLW0603
        with _change:
            callbacks = tuple(one for one in callbacks if one is not entry)

    return unsubscribe


def publish(event: str, work: Timed) -> None:
    """Tell of something that *work* did."""
    tell(_event(event, work))


def tell(event: TelemetryEvent) -> None:
    """Call everyone who asked for it."""
    for callback, wanted in callbacks:
        if wanted is None or wanted == event.event:
            try:
                callback(event)
            except Exception as fault:
                guard.caught("subscriber", fault)


def _event(event: str, work: Timed) -> TelemetryEvent:
    turn = work.turn
    context = work.span_context
    start = work.start_monotonic_ns
    return TelemetryEvent(
        event=event,
        name=work.name,
        time=time.time(),
        seconds=work.elapsed,
        status=work.status,
        session=(turn and turn.session) or "",
        request_id=(turn and turn.request_id) or "",
        trace_id=f"{context.trace_id:032x}" if context.is_valid else "",
        span_id=f"{context.span_id:016x}" if context.is_valid else "",
        milestones={name: (at - start) / 1e9 for name, at in (work.milestones or {}).items()},
        work=work,
    )
