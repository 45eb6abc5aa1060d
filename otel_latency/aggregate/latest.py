"""The latest turns, whole, for whoever looks at them now: the live page, a link from an alert, the command line.

A turn that is put again, because more of it came, takes the place of what was known of it. Memory: `max_turns` turns of
some 5 KiB each, in all no more than `max_stages` stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from otel_latency.aggregate.turn import Turn

MAX_TURNS: Final = 200
MAX_STAGES: Final = 4_000


class LatestTurns:
    """Takes turns as they are shown."""

    def __init__(self, max_turns: int = MAX_TURNS, max_stages: int = MAX_STAGES) -> None:
        self._max_turns = max_turns
        self._max_stages = max_stages
        self._turns: dict[tuple[bytes, bytes], Turn] = {}  # those put first come first
        self._stages = 0

    def __iter__(self) -> Iterator[Turn]:
        """The last one put comes first; one that was put again stays where it was."""
        return reversed(self._turns.values())

    def put(self, turn: Turn) -> None:
        """Keep *turn*, in place of what was known of it."""
        key = turn.trace_id, turn.span_id
        known = self._turns.get(key)
        self._turns[key] = turn
        self._stages += len(turn.stages) - (len(known.stages) if known else 0)
        while len(self._turns) > self._max_turns or (self._stages > self._max_stages and len(self._turns) > 1):
            self._stages -= len(self._turns.pop(next(iter(self._turns))).stages)

    def find(self, trace_id: bytes, span_id: bytes = b"") -> Turn | None:
        """The turn of a trace; where several share it the one of *span_id*, or else the last that was put."""
        if span_id:
            return self._turns.get((trace_id, span_id))
        return next((turn for turn in self if turn.trace_id == trace_id), None)
