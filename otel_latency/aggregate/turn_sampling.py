"""Under load, whole traces are left out of the turns: which ones, their ids decide.

A trace is kept when the low 56 bits of its id, which OpenTelemetry wants random, are not below a threshold. That is
OpenTelemetry's consistent probability sampling: every span of a trace fares alike, whenever it comes, and every agent
that leaves out as much leaves out the same traces. Ids that are not random are kept or left out together.

The threshold follows what is offered, not what is kept, so nothing is fed back and nothing can swing: down as soon as a
second brought too much, with some room to spare; up by at most a factor of two, and only when the last `CALM` seconds
would all have allowed it.

While the threshold moves, a trace between its old and new place has some of its spans left out, before or after. What
is put together of the rest is no turn: `whole` lets through only turns whose trace lay above every threshold that held
since they began. `share` is told in the same way, so that counts divided by it estimate all turns.

Cost: a batch 0.2 us while nothing is left out, else about 0.1 us a span. Memory: a few hundred numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from otel_latency.aggregate.turn import NO_ROOT, Turn
from otel_latency.records import SpanRow

CALM: Final = 10.0
"""Seconds that have to allow a larger share before there is one."""
ROOM: Final = 0.8
"""Of what would do just now, so much is taken: a load that wavers by less moves nothing."""
WORTH: Final = 1.25
"""A share is not raised by less."""
MIN_SHARE: Final = 1e-4
ARRIVAL: Final = 10.0
"""Seconds in which the spans of a turn arrive after they have ended, SDKs' batches and our own waits included."""

_SECOND: Final = 1.0
_RANDOM_BITS: Final = 56
_RANDOM: Final = slice(9, 16)
"""The place of those bits in a trace id. Big-endian bytes compare as the numbers that they are."""
_MEMORY: Final = 600.0
"""Seconds for which a former threshold is remembered, for the longest turns."""
_MAX_STEPS: Final = 256


class TraceSampling:
    """Decides by trace what becomes turns. *now* is a monotonic clock's, in seconds."""

    def __init__(self, *, max_rate: float = 2_000.0, turn_timeout: float = 30.0) -> None:
        """At most about *max_rate* spans a second; a trace without root is told *turn_timeout* after its last span."""
        self._max_rate = max_rate
        self._turn_timeout = turn_timeout
        self._admitted = 1.0
        self._threshold = b""  # below every id: nothing is left out
        self._offered = 0
        self._loads: deque[tuple[float, int]] = deque()  # of the ticks of the last second
        self._rates: deque[tuple[float, float]] = deque()  # falling: the highest of the calm time comes first
        self._moved = 0.0
        self._steps: deque[tuple[float, bytes, float]] = deque(maxlen=_MAX_STEPS)  # until when which threshold held
        self.share = 1.0
        """The part of all traces that the turns told now stand for."""
        self.left_out = 0
        """Spans, so far."""

    def kept(self, rows: list[SpanRow]) -> list[SpanRow]:
        """The spans of those traces that are kept."""
        self._offered += len(rows)
        threshold = self._threshold
        if not threshold:
            return rows
        kept = [row for row in rows if row[1][_RANDOM] >= threshold]
        self.left_out += len(rows) - len(kept)
        return kept

    def tick(self, now: float) -> None:
        """Adapt to what was offered since the last tick."""
        rate = self._rate(now)
        calm_share = self._bearable(self._highest_rate(rate, now))
        if self._bearable(rate) < self._admitted:
            self._move(max(self._bearable(rate) * ROOM, MIN_SHARE), now)
        elif self._admitted < 1 and now - self._moved >= CALM:
            wanted = 1.0 if calm_share * ROOM >= 1 else calm_share * ROOM
            if wanted >= min(1.0, self._admitted * WORTH):
                self._move(min(wanted, self._admitted * 2), now)
        while self._steps and self._steps[0][0] <= now - _MEMORY:
            self._steps.popleft()
        self.share = min([self._admitted, *(share for until, _, share in self._steps if until > now - ARRIVAL)])

    def whole(self, turns: Iterable[Turn], now: float) -> list[Turn]:
        """The turns none of whose spans were left out."""
        if not (self._steps or self._threshold):
            return list(turns)
        return [turn for turn in turns if turn.trace_id[_RANDOM] >= self._highest(now - self._age(turn))]

    def _age(self, turn: Turn) -> float:
        """Seconds since which the turn's spans have come."""
        return turn.duration + ARRIVAL + (self._turn_timeout if NO_ROOT in turn.marks else 0.0)

    def _highest(self, since: float) -> bytes:
        return max([self._threshold, *(threshold for until, threshold, _ in self._steps if until > since)])

    def _rate(self, now: float) -> float:
        """Spans offered in the last second."""
        self._loads.append((now, self._offered))
        self._offered = 0
        while self._loads[0][0] <= now - _SECOND:
            self._loads.popleft()
        return sum(count for _, count in self._loads) / _SECOND

    def _highest_rate(self, rate: float, now: float) -> float:
        """Of the calm time, with what is offered now."""
        rates = self._rates
        while rates and rates[-1][1] <= rate:
            rates.pop()
        rates.append((now, rate))
        while rates[0][0] <= now - CALM:
            rates.popleft()
        return rates[0][1]

    def _bearable(self, rate: float) -> float:
        """The largest share of that rate that is not too much; more than 1 where more would do."""
        return self._max_rate / rate if rate else float("inf")

    def _move(self, share: float, now: float) -> None:
        self._steps.append((now, self._threshold, self._admitted))
        self._admitted = share
        self._moved = now
        left_out = round((1 - share) * (1 << _RANDOM_BITS))
        self._threshold = left_out.to_bytes(_RANDOM_BITS // 8, "big") if left_out else b""
