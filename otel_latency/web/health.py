"""The three probes, in the shapes of their callers; 503 with a `reason` when the answer is no.

    /health/live    is the process to be restarted?   depends on the event loop and on nothing else
    /health/ready   can it take data now?             receivers listen, not stopping, required checks are up
    /health         does it do its job?               live, receivers listen, no part of its own has failed

Readiness never depends on where data goes next: a failing probe takes the whole pod out of service, application
included, and a backend that is away is no reason for that. External services count only where the user wrote
`required: true`. Health does not depend on them at all; what else is amiss is told by /status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from aiohttp import web

from otel_latency.clock import Clock
from otel_latency.records import CheckResult
from otel_latency.web.app import Route
from otel_latency.web.replies import reply


class Phase(StrEnum):
    """Where the agent stands between its start and its end; the value is the reason for not being ready."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Health:
    """Answers the probes. Whoever runs the agent moves `phase`.

    *alive* says whether the loop turns, *checks* the last result of each external service, *required* which of them
    readiness waits for, *faults* one sentence for each part of the agent that has failed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        alive: Callable[[], bool] = lambda: True,
        checks: Callable[[], Iterable[CheckResult]] = tuple,
        required: Sequence[str] = (),
        faults: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.phase = Phase.STARTING
        self._clock = clock
        self._started = clock.monotonic()
        self._alive = alive
        self._checks = checks
        self._required = required
        self._faults = faults

    def routes(self) -> list[Route]:
        """The kubelet probes by the pod's address, so any Host header is answered."""
        return [
            Route("/health", self._get_health, any_host=True),
            Route("/health/ready", self._get_ready, any_host=True),
            Route("/health/live", self._get_live, any_host=True),
        ]

    @property
    def uptime(self) -> float:
        """Seconds since this object was made."""
        return self._clock.monotonic() - self._started

    def timestamp(self) -> str:
        """Now, as ISO 8601 in UTC."""
        return datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def why_not_live(self) -> str:
        """Empty when live."""
        return "" if self._alive() else "the event loop stands still"

    def why_not_ready(self) -> str:
        """Empty when ready."""
        if self.phase is not Phase.RUNNING:
            return self.phase
        up = {check.name for check in self._checks() if check.up}
        down = [name for name in self._required if name not in up]
        return f"required checks are not up: {', '.join(down)}" if down else ""

    def why_not_healthy(self) -> str:
        """Empty when healthy."""
        if self.phase is not Phase.RUNNING:
            return self.phase
        return self.why_not_live() or "; ".join(self._faults())

    def services(self) -> list[str]:
        """The names of the external services that are up."""
        return [check.name for check in self._checks() if check.up]

    def summary(self) -> dict[str, object]:
        """The three answers in one, for /status."""
        reasons = [self.why_not_healthy(), self.why_not_ready(), self.why_not_live()]
        answers = dict(zip(("healthy", "ready", "alive"), (not reason for reason in reasons), strict=True))
        return {**answers, "reasons": list(dict.fromkeys(filter(None, reasons)))}

    async def _get_health(self, _request: web.Request) -> web.Response:
        return self._answer("healthy", self.why_not_healthy(), {})

    async def _get_ready(self, _request: web.Request) -> web.Response:
        return self._answer("ready", self.why_not_ready(), {"services": self.services()})

    async def _get_live(self, _request: web.Request) -> web.Response:
        return self._answer("alive", self.why_not_live(), {"uptime_seconds": round(self.uptime, 3)})

    def _answer(self, key: str, reason: str, details: dict[str, object]) -> web.Response:
        body = {key: not reason, **details, "timestamp": self.timestamp()}
        if reason:
            return reply({**body, "reason": reason}, status=503)
        return reply(body)
