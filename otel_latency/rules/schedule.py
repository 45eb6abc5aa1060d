"""When groups are evaluated: each on a grid of its own interval, shifted by a hash so that not all run at once.

The shift follows from the group's name and file, so it is the same after a restart. It is rounded up to the next
sample, for between two samples there is nothing new to see.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple


class Slot(NamedTuple):
    """An evaluation that is due: for which time, and how many before it were missed, which are not made up for."""

    at_ms: int
    missed: int


class Schedule:
    """The evaluations of one group; the first is due at the first grid point after *now_ms*.

    Samples are taken every *sample_ms*, and *now_ms* is always the time of one.
    """

    def __init__(self, key: tuple[str, str], interval_ms: int, now_ms: int, *, sample_ms: int = 1) -> None:
        self._interval_ms = interval_ms
        self._sample_ms = sample_ms
        self._offset_ms = offset_ms(key, interval_ms)
        self.next_ms = self._after(now_ms)

    def take(self, now_ms: int) -> Slot | None:
        """The newest evaluation that is due by now, and has not been taken before."""
        if now_ms < self.next_ms:
            # A clock that was set back must not stop evaluations until it has caught up.
            self.next_ms = min(self.next_ms, self._after(now_ms))
            return None
        missed = (now_ms - self.next_ms) // self._interval_ms
        at_ms = self.next_ms + missed * self._interval_ms
        self.next_ms = at_ms + self._interval_ms
        return Slot(at_ms, missed)

    def shift(self, by_ms: int) -> None:
        """Move the evaluations to come, for the clock was set."""
        self._offset_ms = (self._offset_ms + by_ms) % self._interval_ms
        self.next_ms += by_ms

    def _after(self, now_ms: int) -> int:
        wait_ms = self._interval_ms - (now_ms - self._offset_ms) % self._interval_ms
        return now_ms + wait_ms + -wait_ms % self._sample_ms


def offset_ms(key: tuple[str, str], interval_ms: int) -> int:
    """Where in each interval the group's evaluations lie."""
    digest = blake2b("\0".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % interval_ms
