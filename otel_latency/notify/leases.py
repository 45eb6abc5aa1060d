"""How long a firing alert is believed without word from the rules: for its `valid_for`, and as long after a start.

The time is measured on the monotonic clock alone. So neither a wall clock that steps nor a pause of the agent ends
anything, and it does not matter by which clock the rules tell the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from otel_latency.clock import Clock
from otel_latency.records import Alert


class Leases:
    """Alerts are told apart by their fingerprints."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leases: dict[str, tuple[float, Alert]] = {}  # monotonic end, alert as last heard

    def renew(self, news: Mapping[str, Alert]) -> None:
        """Word has come from the rules, or from the last run."""
        now = self._clock.monotonic()
        for name, alert in news.items():
            if alert.is_firing:
                self._leases[name] = (now + alert.valid_for, alert)
            else:
                self._leases.pop(name, None)

    def expired(self) -> dict[str, Alert]:
        """Alerts that nothing was heard of for too long, as resolved now; to be passed on like any news."""
        now, wall = self._clock.monotonic(), self._clock.time()
        return {
            name: replace(alert, is_firing=False, ends_at=max(wall, alert.starts_at))
            for name, (until, alert) in self._leases.items()
            if until < now
        }
