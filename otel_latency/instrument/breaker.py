"""A circuit breaker per provider, by purgatory: a provider that fails again and again is left alone for a while.

Closed: calls pass; `THRESHOLD` failed attempts in a row open it. Open: `CircuitOpen` for `REST` seconds. Half-open: one
call at a time is let through to see, its success closes the breaker and its failure opens it again. Only failures of
the provider count (`Failure.is_provider_fault`), not refused requests, cancellations or the caller's own errors.

The state is the OTel gauge `otel_latency.circuit_state` by provider (0 closed, 1 half-open, 2 open), where the
application has a MeterProvider; `circuits()` tells it anywhere.

Cost: under 5 us a call. Memory: one breaker per provider named.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.metrics import CallbackOptions, Observation, get_meter
from purgatory import SyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from otel_latency import semconv
from otel_latency.errors import CircuitOpen

THRESHOLD: Final = 5
REST: Final = 30.0

_LEVELS: Final = {"closed": 0, "half-opened": 1, "opened": 2}
_WORDS: Final = {"closed": "closed", "half-opened": "half_open", "opened": "open"}

log = logging.getLogger("otel_latency")


class Breaker:
    """The breaker of one provider. Call `enter` before an attempt, then exactly one of the other three."""

    def __init__(self, provider: str, *, threshold: int = THRESHOLD, rest: float = REST) -> None:
        self.provider = provider
        self._rest = rest
        factory = SyncCircuitBreakerFactory(default_threshold=threshold, default_ttl=rest)
        factory.add_listener(self._listen)
        self._circuit = factory.get_breaker(provider)
        self._lock = threading.Lock()
        self._is_probing = False

    @property
    def state(self) -> str:
        """closed, half_open or open."""
        return _WORDS[self._circuit.context.state]

    @property
    def level(self) -> int:
        """0 closed, 1 half-open, 2 open."""
        return _LEVELS[self._circuit.context.state]

    def enter(self) -> None:
        """Raise `CircuitOpen` if the provider is to be left alone."""
        with self._lock:
            try:
                self._circuit.context.handle_new_request()
            except OpenedState:
                raise CircuitOpen(self.provider, self._rest_left()) from None
            self._flush()
            if self.level == 1:
                self._probe()

    def succeeded(self) -> None:
        self._left(None)

    def failed(self, error: BaseException) -> None:
        """The provider failed; other endings of an attempt are `abandoned`."""
        self._left(error)

    def abandoned(self) -> None:
        """The attempt says nothing about the provider: it was cancelled, or the fault is the caller's."""
        with self._lock:
            self._is_probing = False

    def _left(self, error: BaseException | None) -> None:
        with self._lock:
            self._is_probing = False
            if error is None:
                self._circuit.context.handle_end_request()
            else:
                self._circuit.context.handle_exception(error)
            self._flush()

    def _probe(self) -> None:
        # purgatory lets every call through while half-open: a hundred of them are no careful look.
        if self._is_probing:
            raise CircuitOpen(self.provider, self._rest)
        self._is_probing = True

    def _rest_left(self) -> float:
        opened_at = self._circuit.context.opened_at or 0.0
        return max(0.0, opened_at + self._rest - time.time())

    def _flush(self) -> None:
        """Hand purgatory's messages on, as its own `with` does at the end."""
        messages = self._circuit.context.messages
        while messages:
            self._circuit.messagebus.handle(messages.pop(0), self._circuit.uow)

    def _listen(self, provider: str, kind: str, event: Any) -> None:
        if kind != "state_changed":
            return
        state = _WORDS[event.state]
        rest = f", next try in {self._rest:g} s" if state == "open" else ""
        log.warning("circuit of %s is %s%s", provider, state.replace("_", "-"), rest)


class Breakers:
    """The breakers of this process, by provider."""

    def __init__(self, *, threshold: int = THRESHOLD, rest: float = REST) -> None:
        self._threshold = threshold
        self._rest = rest
        self._breakers: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def of(self, provider: str) -> Breaker:
        with self._lock:
            if provider not in self._breakers:
                self._breakers[provider] = Breaker(provider, threshold=self._threshold, rest=self._rest)
            return self._breakers[provider]

    def states(self) -> dict[str, str]:
        """Provider -> closed, half_open or open."""
        return {provider: breaker.state for provider, breaker in list(self._breakers.items())}

    def observations(self, _options: CallbackOptions | None = None) -> Iterable[Observation]:
        """For the gauge."""
        return [
            Observation(breaker.level, {"provider": provider}) for provider, breaker in list(self._breakers.items())
        ]


breakers: Final = Breakers()
get_meter(semconv.SCOPE).create_observable_gauge(
    "otel_latency.circuit_state",
    [breakers.observations],
    description="Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.",
)


def circuits() -> dict[str, str]:
    """The state of each provider's circuit breaker in this process: closed, half_open or open."""
    return breakers.states()
