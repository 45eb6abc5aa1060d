"""Which spans were seen lately, so that a request sent again (OTLP allows it) is counted once.

Two generations of at most `native.GENERATION` spans, turned over when the young one is full or 30 s old: a span is
remembered for 30 to 60 s, or until 65,536 to 131,072 others have come. Memory: up to 2 MiB, whatever comes.
"""

from __future__ import annotations

import secrets

from otel_latency.native import Recent
from otel_latency.records import SpanRow

SECONDS = 30.0


class RecentSpans:
    """A set of (trace id, span id) pairs that forgets."""

    __slots__ = ("_recent", "_turned")

    def __init__(self) -> None:
        self._recent = Recent(secrets.randbits(64))  # nobody can choose ids that are taken for others
        self._turned = float("-inf")

    def fresh(self, rows: list[SpanRow]) -> list[SpanRow]:
        """The rows that are not remembered, each once; they are from now on."""
        return self._recent.fresh(rows)

    def turn(self, now: float) -> None:
        """Forget the old generation when it is time; *now* is seconds."""
        if abs(now - self._turned) >= SECONDS:
            self._recent.turn()
            self._turned = now
