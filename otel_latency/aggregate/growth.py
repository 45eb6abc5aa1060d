"""By how much counters have grown in the last minute, if somebody reads them every few seconds.

    growth.add({("otel_latency_turns_total", labels): 41.0}, now)
    growth.grown[key], growth.seconds

What grew between two readings lies in a slot of five seconds; a slot leaves once all of it is older than the horizon.
So the figures are those of the last 60 to 65 seconds, and of less while there is no more: `seconds` tells. The first
reading is where growth begins. A counter that fell has begun anew; one that is new has grown by all of its value, but
for what it had in a former run of the agent.

Cost: 0.3 us a counter. Memory: a number for each counter, and one for each slot in which it grew.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final

from otel_latency.records import Labels

HORIZON: Final = 60.0
STEP: Final = 5.0

Key = tuple[str, Labels]
"""A counter's name and labels."""


class Growth:
    """Takes the values of all counters of a name at once; *now* is Unix seconds."""

    def __init__(self) -> None:
        self._slots: deque[tuple[float, defaultdict[Key, float]]] = deque()  # each begins where the one before ends
        self._last: Mapping[Key, float] = {}
        self._now = 0.0
        self._before: dict[Key, float] = {}
        self.grown: defaultdict[Key, float] = defaultdict(float)

    @property
    def seconds(self) -> float:
        """How long `grown` covers; 0 after a single reading."""
        return self._now - self._slots[0][0] if self._slots else 0.0

    def restore(self, counters: Mapping[Key, float]) -> None:
        """From where counters go on that were counted in a former run; labels in the order of their names."""
        self._before = dict(counters)

    def add(self, values: Mapping[Key, float], now: float) -> None:
        """Take the present values. Counters that are missing have ended, where others of their name are there."""
        if not self._slots or now < self._now:  # the first ones, or a clock that was set back
            self._slots.clear()
            self._slots.append((now, defaultdict(float)))
            self.grown.clear()
        else:
            if now - self._slots[-1][0] > STEP:
                self._slots.append((self._now, defaultdict(float)))
            self._count(values)
        told = {name for name, _ in values}
        unread = {key: value for key, value in self._last.items() if key[0] not in told}
        self._last, self._now = {**unread, **values}, now
        self._forget(now - HORIZON)

    def _count(self, values: Mapping[Key, float]) -> None:
        slot = self._slots[-1][1]
        for key, value in values.items():
            before = self._last.get(key)
            if before is None:
                before = self._former(key)
            if value != before:
                grown = value - before if value > before else value
                slot[key] += grown
                self.grown[key] += grown

    def _former(self, key: Key) -> float:
        """What a counter that is new had in a former run."""
        return self._before.pop((key[0], tuple(sorted(key[1]))), 0.0) if self._before else 0.0

    def _forget(self, oldest: float) -> None:
        """Drop the slots that ended by *oldest*; sums are made anew, so that rounding does not add up."""
        count = len(self._slots)
        while len(self._slots) > 1 and self._slots[1][0] <= oldest:
            self._slots.popleft()
        if len(self._slots) < count:
            self.grown.clear()
            for _, slot in self._slots:
                for key, grown in slot.items():
                    self.grown[key] += grown
