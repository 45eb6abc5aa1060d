"""Under load, whole traces are left out of the turns: which ones, their ids decide.

A trace is kept when the low 56 bits of its id, which OpenTelemetry wants random, are not below a threshold. That is
OpenTelemetry's consistent probability sampling: every span of a trace fares alike, whenever it comes, and every agent
that leaves out as much leaves out the same traces. Ids that are not random are kept or left out together.

SDKs send in batches, every few seconds, from many processes: what came in a moment is no load. Nothing is left out
while no more than `max_rate` spans a second came on average over `LONG` seconds and no more than `burst` in `SHORT`.
When as many have been kept in `SHORT`, the share falls within the batch, by halves, as far as what came since the last
tick demands: a flood gets in what can be held at once, and little more.

The share otherwise follows what is offered, not what is kept, so nothing is fed back and nothing can swing: down when
it was too much, with some room to spare; up only to what the last `CALM` seconds would all have allowed.

Traces that are held already stay when the share falls. When it rises, a trace may have had its first spans left out;
what is put together of the rest is no turn, and `whole` lets through only those that cannot be such. `share` is told in
the same way, so that counts divided by it estimate all turns but for some seconds after it fell.

Cost: a batch 0.3 us while nothing is left out, else about 0.15 us a span. Memory: a few hundred numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Sequence
from typing import Final, NamedTuple

from otel_latency.aggregate.turn import NO_ROOT, Turn
from otel_latency.records import SpanRow

LONG: Final = 15.0
"""Seconds over which the rate is an average."""
SHORT: Final = 5.0
"""Seconds between two batches of an SDK that knows no better, and about as many for which a span is held."""
CALM: Final = 15.0
"""Seconds that have to allow a larger share before there is one; as `LONG`, so that all of it is under the present."""
ROOM: Final = 0.8
"""Of what would do just now, so much is taken: a load that wavers by less moves nothing."""
BEARABLE: Final = 1.1
"""So many times the rate is not worth leaving anything out."""
WORTH: Final = 1.25
"""A share is not raised by less."""
MIN_SHARE: Final = 1e-4
ARRIVAL: Final = 10.0
"""Seconds in which the spans of a turn arrive after they have ended, SDKs' batches and our own waits included."""
FULL: Final = 1.4
"""With so many times `burst` kept in `SHORT`, traces that are held are not spared any more."""

_TICK: Final = 0.25
"""Seconds between two ticks, at least: a batch that came soon after one says nothing about a rate."""
_RANDOM_BITS: Final = 56
_RANDOM: Final = slice(9, 16)
"""The place of those bits in a trace id. Big-endian bytes compare as the numbers that they are."""
_MEMORY: Final = 600.0
"""Seconds for which a former threshold is remembered, for the longest turns."""
_MAX_STEPS: Final = 256


class _Load(NamedTuple):
    """The spans between two ticks."""

    until: float
    offered: int
    kept: int


class _Step(NamedTuple):
    """Until when a threshold held, and whether traces below it that were held already stayed."""

    until: float
    threshold: bytes
    share: float
    is_sparing: bool


class TraceSampling:
    """Decides by trace what becomes turns. *now* is a monotonic clock's, in seconds."""

    def __init__(
        self,
        *,
        held: Container[bytes],
        max_rate: float = 2_000.0,
        burst: int = 20_000,
        turn_timeout: float = 30.0,
    ) -> None:
        """At most about *max_rate* spans a second, and *burst* at once.

        *held* are the trace ids that something is already known of; whoever holds them lets them go within bounds. A
        trace without root is told *turn_timeout* after its last span.
        """
        self._held = held
        self._max_rate = max_rate
        self._burst = burst
        self._turn_timeout = turn_timeout
        self._admitted = 1.0
        self._threshold = b""  # below every id: nothing is left out
        self._is_sparing = True
        self._offered = self._kept = 0  # since the last tick
        self._recent = 0  # kept in `SHORT` before the last tick
        self._room = float(burst)
        self._ticked = float("inf")
        self._loads: deque[_Load] = deque()
        self._needs: deque[tuple[float, float]] = deque()  # falling: the highest of the calm time comes first
        self._moved = 0.0
        self._steps: deque[_Step] = deque(maxlen=_MAX_STEPS)
        self.share = 1.0
        """The part of all traces that the turns told now stand for."""
        self.left_out = 0
        """Spans, so far."""
        self.left_out_at: float | None = None
        """When that happened last, or when `whole` last held a turn back; as *now*. None: never."""

    def kept(self, rows: list[SpanRow], now: float) -> list[SpanRow]:
        """The spans of those traces that are kept."""
        self._offered += len(rows)
        if len(rows) * self._admitted > self._room:
            self._brake(len(rows), now)
        threshold = self._threshold
        if not threshold:
            self._count(len(rows))
            return rows
        held = self._held if self._is_sparing else ()
        kept = [row for row in rows if row[1][_RANDOM] >= threshold or row[1] in held]
        self._count(len(kept))
        if len(kept) < len(rows):
            self.left_out += len(rows) - len(kept)
            self.left_out_at = now
        if self._is_sparing and self._recent + self._kept > self._burst * FULL:
            self._move(self._admitted, now, is_sparing=False)
        return kept

    def tick(self, now: float) -> None:
        """Adapt to what was offered since the last tick."""
        self._loads.append(_Load(now, self._offered, self._kept))
        while self._loads[0].until <= now - LONG:
            self._loads.popleft()
        self._offered = self._kept = 0
        self._ticked = now
        recent = [load for load in self._loads if load.until > now - SHORT]
        self._recent = sum(load.kept for load in recent)
        self._room = max(self._burst - self._recent, self._max_rate * _TICK)
        self._adapt(sum(load.offered for load in self._loads) / LONG, sum(load.offered for load in recent), now)
        while self._steps and self._steps[0].until <= now - _MEMORY:
            self._steps.popleft()
        self.share = min([self._admitted, *(step.share for step in self._steps if step.until > now - ARRIVAL)])

    def whole(self, turns: Sequence[Turn], now: float) -> list[Turn]:
        """The turns none of whose spans were left out."""
        if not (self._steps or self._threshold):
            return list(turns)
        steps = [*self._steps, self._step(now)]
        whole = [turn for turn in turns if not _is_torn(turn.trace_id[_RANDOM], now - self._age(turn), steps)]
        if len(whole) < len(turns):
            self.left_out_at = now
        return whole

    def _count(self, kept: int) -> None:
        self._kept += kept
        self._room -= kept

    def _brake(self, count: int, now: float) -> None:
        """There is no room for *count* more: halve the share until there is, each time for a little more room.

        What came since the last tick says how far that may go.
        """
        least = self._share_for(self._offered / max(now - self._ticked, _TICK))
        share = self._admitted
        while count * share > self._room and share > least:
            share = max(share / 2, least)
            self._room += self._max_rate * _TICK / 2
        if share < self._admitted:
            self._move(share, now, is_sparing=self._is_sparing)

    def _adapt(self, rate: float, recent: int, now: float) -> None:
        """To an average *rate* and as many *recent* spans."""
        fullness = recent / self._burst
        calm = self._highest_need(max(rate / self._max_rate, fullness), now)
        if max(rate / self._max_rate / BEARABLE, fullness) * self._admitted > 1:
            share = self._share_for(max(rate, recent / SHORT, fullness * self._max_rate))
            self._move(share, now, is_sparing=self._is_sparing)
        elif self._admitted < 1 and now - self._moved >= CALM:
            wanted = 1.0 if calm <= 1 else self._share_for(calm * self._max_rate)
            if wanted >= min(1.0, self._admitted * WORTH):
                self._move(wanted, now, is_sparing=True)

    def _age(self, turn: Turn) -> float:
        """Seconds since which the turn's spans have come."""
        return turn.duration + ARRIVAL + (self._turn_timeout if NO_ROOT in turn.marks else 0.0)

    def _highest_need(self, need: float, now: float) -> float:
        """Of the calm time, with what there is now; 1 is all that there is room for."""
        needs = self._needs
        while needs and needs[-1][1] <= need:
            needs.pop()
        needs.append((now, need))
        while needs[0][0] <= now - CALM:
            needs.popleft()
        return needs[0][1]

    def _share_for(self, rate: float) -> float:
        """With some room to spare."""
        return min(max(self._max_rate / rate * ROOM, MIN_SHARE), 1.0)

    def _step(self, now: float) -> _Step:
        return _Step(now, self._threshold, self._admitted, self._is_sparing)

    def _move(self, share: float, now: float, *, is_sparing: bool) -> None:
        self._steps.append(self._step(now))
        self._admitted = share
        self._is_sparing = is_sparing
        self._moved = now
        left_out = round((1 - share) * (1 << _RANDOM_BITS))
        self._threshold = left_out.to_bytes(_RANDOM_BITS // 8, "big") if left_out else b""


def _is_torn(number: bytes, since: float, steps: Iterable[_Step]) -> bool:
    """Whether spans may have been left out: while the trace was not spared, or before it was kept (again)."""
    is_below = False
    for step in steps:
        if step.until <= since:
            continue
        if number >= step.threshold:
            if is_below:
                return True
        elif not step.is_sparing:
            return True
        else:
            is_below = True
    return False
