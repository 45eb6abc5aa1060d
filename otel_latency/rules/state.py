"""The life of one alert: pending while it may still be a blip, firing, and resolved; a pure function of time.

Follows Prometheus' alerting rules to the millisecond. An element that is missing from a result deletes a pending alert
and resolves a firing one, unless `keep_firing_ms` bridges the gap; a resolved alert is remembered for a while, so that
its end is told more than once. Nothing in here knows what an element is, or who is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from otel_latency.records import Labels
from otel_latency.rules.promql.values import Semantics

RESOLVED_RETENTION_MS: Final = 15 * 60_000


class State(Enum):
    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


@dataclass(frozen=True, slots=True)
class Breach:
    """An element of a rule's result, with the labels and annotations of the alert that it stands for."""

    labels: Labels
    annotations: Labels
    value: float


@dataclass(frozen=True, slots=True)
class AlertState:
    """One alert as it stands; its labels are its identity. Times are Unix milliseconds, None: not (yet).

    `value` and `annotations` are those of the last evaluation that found it, also once it is resolved.
    """

    labels: Labels
    annotations: Labels
    value: float
    active_at_ms: int
    state: State = State.PENDING
    fired_at_ms: int | None = None
    resolved_at_ms: int | None = None
    keep_firing_since_ms: int | None = None
    last_sent_ms: int | None = None

    @property
    def is_active(self) -> bool:
        return self.state is not State.INACTIVE

    def needs_sending(self, at_ms: int, resend_delay_ms: int) -> bool:
        """Whether to tell now: it fired or resolved since it was last told, or that was long enough ago."""
        if self.state is State.PENDING:
            return False
        if self.last_sent_ms is None:
            return True
        if self.resolved_at_ms is not None and self.resolved_at_ms > self.last_sent_ms:
            return True
        return self.last_sent_ms + resend_delay_ms < at_ms


@dataclass(frozen=True, slots=True)
class Timing:
    """What a rule says about time."""

    hold_ms: int = 0
    keep_firing_ms: int = 0
    semantics: Semantics = 3


def advance(
    known: Mapping[Labels, AlertState],
    found: Mapping[Labels, Breach],
    at_ms: int,
    timing: Timing,
    *,
    is_held: Callable[[AlertState], bool] = lambda _: False,
) -> dict[Labels, AlertState]:
    """All alerts of a rule after an evaluation at *at_ms* that *found* these; *at_ms* never goes back.

    *is_held* says of an alert that its element may be missing only because too little is known yet, so that it goes on.
    """
    after = {}
    for labels in {**known, **found}:
        alert = _advance(known.get(labels), found.get(labels), at_ms, timing, is_held=is_held)
        if alert is not None:
            after[labels] = alert
    return after


def _advance(
    known: AlertState | None, found: Breach | None, at_ms: int, timing: Timing, *, is_held: Callable[[AlertState], bool]
) -> AlertState | None:
    if found is not None:
        return _hold(_seen(known, found, at_ms), at_ms, timing)
    if known is None or (known.is_active and is_held(known)):
        return known
    return _missed(known, at_ms, timing)


def _seen(known: AlertState | None, found: Breach, at_ms: int) -> AlertState:
    if known is None or not known.is_active:
        return AlertState(found.labels, found.annotations, found.value, active_at_ms=at_ms)
    return replace(known, annotations=found.annotations, value=found.value, keep_firing_since_ms=None)


def _hold(alert: AlertState, at_ms: int, timing: Timing) -> AlertState:
    """Fire what has been pending for long enough; what fires too early for a `for` that was raised is pending again."""
    has_held = at_ms - alert.active_at_ms >= timing.hold_ms
    if alert.state is State.PENDING and has_held:
        return replace(alert, state=State.FIRING, fired_at_ms=at_ms)
    if alert.state is State.FIRING and not has_held and timing.semantics >= 3:
        return replace(alert, state=State.PENDING, fired_at_ms=None, last_sent_ms=None, keep_firing_since_ms=None)
    return alert


def _missed(known: AlertState, at_ms: int, timing: Timing) -> AlertState | None:
    if known.state is State.PENDING:
        return None
    if known.resolved_at_ms is not None:
        return known if at_ms - known.resolved_at_ms <= RESOLVED_RETENTION_MS else None
    since_ms = at_ms if known.keep_firing_since_ms is None else known.keep_firing_since_ms
    if at_ms - since_ms < timing.keep_firing_ms:
        return _hold(replace(known, keep_firing_since_ms=since_ms), at_ms, timing)
    return replace(known, state=State.INACTIVE, resolved_at_ms=at_ms)
