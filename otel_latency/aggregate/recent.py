"""Which spans were seen lately, so that a request sent again (OTLP allows it) is counted once.

Two generations of at most `GENERATION` span identities, turned over when the young one is full or 30 s old: an identity
is remembered for 30 to 60 s, or for the last 40,000 to 80,000 spans. Memory: 60 bytes a span, 5 MiB at most.
"""

from __future__ import annotations

from otel_latency.records import SpanRow

GENERATION = 40_000
SECONDS = 30.0


class RecentSpans:
    """A set of (trace id, span id) pairs that forgets."""

    __slots__ = ("_old", "_turned", "_young")

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._turned = float("-inf")

    def fresh(self, rows: list[SpanRow]) -> list[SpanRow]:
        """The rows that are not remembered, each once; they are from now on.

        Identities are kept as 64-bit hashes: two of 80,000 different spans share one with a chance of 2 in 10^10.
        """
        identities = [hash(row[1] + row[2]) for row in rows]
        distinct = set(identities)
        if len(distinct) == len(rows) and self._young.isdisjoint(distinct) and self._old.isdisjoint(distinct):
            self._young |= distinct
            return rows
        kept = []
        for identity, row in zip(identities, rows, strict=True):
            if identity not in self._young and identity not in self._old:
                self._young.add(identity)
                kept.append(row)
        return kept

    def turn(self, now: float) -> None:
        """Forget the old generation when it is time; *now* is monotonic seconds."""
        if len(self._young) >= GENERATION or now - self._turned >= SECONDS:
            self._old, self._young = self._young, set()
            self._turned = now
