"""How long a firing alert is believed without word from the rules: until its `ends_at`, four minutes after a start.

The time is measured on the monotonic clock, so neither a wall clock that steps nor a pause of the agent ends anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from otel_latency.clock import Clock
from otel_latency.records import Alert

MIN_LEASE: Final = 60.0
START_LEASE: Final = 240.0


class Leases:
    """Alerts are told apart by their fingerprints."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leases: dict[str, tuple[float, Alert]] = {}  # monotonic end, alert as last heard

    def renew(self, news: Mapping[str, Alert]) -> None:
        """Word has come from the rules."""
        now, wall = self._clock.monotonic(), self._clock.time()
        for name, alert in news.items():
            if alert.is_firing:
                self._leases[name] = (now + max(alert.ends_at - wall, MIN_LEASE), alert)
            else:
                self._leases.pop(name, None)

    def grant(self, alerts: Iterable[tuple[str, Alert]]) -> None:
        """These were firing when the last run ended."""
        until = self._clock.monotonic() + START_LEASE
        self._leases.update((name, (until, alert)) for name, alert in alerts)

    def expired(self) -> dict[str, Alert]:
        """Alerts that nothing was heard of for too long, as resolved now; to be passed on like any news."""
        now, wall = self._clock.monotonic(), self._clock.time()
        return {
            name: replace(alert, is_firing=False, ends_at=max(wall, alert.starts_at))
            for name, (until, alert) in self._leases.items()
            if until < now
        }
