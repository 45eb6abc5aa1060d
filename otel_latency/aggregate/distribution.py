"""One latency of one label set, in every form it is asked for: histogram, native histogram, sliding quantiles.

Values are buffered by list concatenation and counted in `settle`, once per tick, group by group.
"""

from __future__ import annotations

from array import array

from otel_latency.aggregate.windows import Windows
from otel_latency.native import count_bounds
from otel_latency.records import Exemplar
from otel_latency.sketch import Sketch

DURATION_BOUNDS = array("d", [0.01 * 2**k for k in range(-1, 17)])
"""The GenAI conventions' bounds (10 ms to 81.92 s, factors of two), widened to 5 ms .. 655.36 s."""

TOKEN_BOUNDS = array(
    "d",
    [0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5],
)
"""Seconds per output token: the conventions' bounds, refined below 50 ms where tokens are."""

EXEMPLAR_SECONDS = 60.0


class Distribution:
    """All observations since `created` (Unix seconds), and the recent ones by window."""

    __slots__ = (
        "_exemplar",
        "_former",
        "_minute",
        "_quanta",
        "_values",
        "bounds",
        "counts",
        "created",
        "total",
        "windows",
    )

    def __init__(self, bounds: array[float], created: float, *, windowed: bool) -> None:
        self.bounds = bounds
        self.created = created
        self.counts = array("q", [0] * (len(bounds) + 1))
        self.total = Sketch()
        self.windows = Windows() if windowed else None
        self._values = array("d")
        self._quanta = array("q")
        self._minute = 0.0
        self._exemplar: Exemplar | None = None
        self._former: Exemplar | None = None

    def buffer(self, values: array[float], quanta: array[int]) -> None:
        """Take values and, for each, the quantum it ended in; they count from the next `settle` on."""
        self._values += values
        self._quanta += quanta

    def settle(self, present: int) -> None:
        """Count what was buffered; *present* is the running quantum."""
        values, quanta = self._values, self._quanta
        self._values, self._quanta = array("d"), array("q")
        count_bounds(values, self.bounds, self.counts)
        self.total.extend(values)
        if self.windows is not None:
            self.windows.advance(present)
            self.windows.add(values, quanta)

    def show(self, exemplar: Exemplar, now: float) -> None:
        """Offer an observation as exemplar: the slowest of the running minute is kept, and then for one more."""
        if now - self._minute >= EXEMPLAR_SECONDS:
            self._minute, self._former, self._exemplar = now, self._exemplar, exemplar
        elif self._exemplar is None or exemplar.value > self._exemplar.value:
            self._exemplar = exemplar

    def exemplar(self, now: float) -> Exemplar | None:
        """The slowest observation of the last minute or two; None when there was none."""
        age = now - self._minute
        kept = [self._exemplar] if age < 2 * EXEMPLAR_SECONDS else []
        kept += [self._former] if age < EXEMPLAR_SECONDS else []
        return max((exemplar for exemplar in kept if exemplar), default=None)

    def cumulative_buckets(self) -> list[tuple[float, int]]:
        """(upper bound, observations at or below it), without +Inf."""
        running = 0
        pairs = []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            pairs.append((bound, running))
        return pairs
