"""A backlog is sent no faster than twice the rate at which it came: the log is replayed at double speed.

What comes in now waits for nothing, since it was written as fast as it is read. A silence of more than a second counts
as one second, however long it was, and a clock that was set back as none.
"""

from __future__ import annotations

from typing import Final

SPEED: Final = 2.0
MAX_GAP: Final = 1.0


class Pace:
    """Times of batches are Unix nanoseconds, those of sending monotonic seconds."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._due = 0.0

    def wait(self, time_ns: int, now: float) -> float:
        """How long the batch that came at *time_ns* has to wait; ask once for each, in order."""
        gap = min(max((time_ns - self._last_ns) * 1e-9, 0.0), MAX_GAP) if self._last_ns else 0.0
        self._last_ns = time_ns
        self._due = max(self._due + gap / SPEED, now)
        return self._due - now
