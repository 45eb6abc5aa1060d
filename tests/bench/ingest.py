"""Decode and aggregate 512 spans of 12 attributes: the agent's own path against upb and DDSketch.

Reference: the full schema parsed by protobuf's upb, every span and attribute walked in Python, one DDSketch(0.01) per
key of four attributes. Ours is `TraceDecoder.decode`, `Aggregator.add` and a fold per 250 ms; a fold here takes 16
requests of 512 spans, 33 k spans/s. No span comes twice: all get new ids each round, outside the measured part, so
the filter of duplicates does its full work. Both get the same bodies; the clock is the benchmark's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from bench.naive import NaiveAggregator
from bench.report import Compared, Figure, compared, in_turns, run
from payload import Batch

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.ingest.otlp_traces import TraceDecoder

REQUESTS = 16
TICK_NS = 250_000_000
REFERENCE = "upb + DDSketch"


class Rounds:
    """The bodies of one 250 ms after the other; every candidate of a round gets the same."""

    def __init__(self, batches: list[Batch], within_ns: int) -> None:
        self._batches = batches
        self._within_ns = within_ns
        self._now_ns = time.time_ns()
        self._left: set[str] = set()
        self._bodies: list[bytes] = []

    def take(self, name: str) -> tuple[list[bytes], float]:
        """(bodies, Unix seconds) for the candidate *name*; a new round begins when it has had this one."""
        if name not in self._left:
            self._now_ns += TICK_NS
            self._bodies = [batch.fresh(self._now_ns, within_ns=self._within_ns) for batch in self._batches]
            self._left = set(CANDIDATES)
        self._left.discard(name)
        return self._bodies, self._now_ns * 1e-9


def ours(*, compiled: bool) -> Callable[[list[bytes], float], None]:
    """What the agent does between two ticks, and the tick."""
    decoder, aggregator = TraceDecoder(compiled=compiled), Aggregator()

    def work(bodies: list[bytes], now: float) -> None:
        for body in bodies:
            rows, _ = decoder.decode(body, is_json=False)
            aggregator.add(aggregator.fresh(rows), now)
        aggregator.fold(now)

    return work


def naive() -> Callable[[list[bytes], float], None]:
    aggregator = NaiveAggregator()

    def work(bodies: list[bytes], _now: float) -> None:
        for body in bodies:
            aggregator.ingest(body)

    return work


CANDIDATES: dict[str, Callable[[], Callable[[list[bytes], float], None]]] = {
    "ours": lambda: ours(compiled=True),
    "scanner in Python": lambda: ours(compiled=False),
    REFERENCE: naive,
}


def timed(name: str, work: Callable[[list[bytes], float], None], rounds: Rounds) -> Callable[[], float]:
    """Microseconds of CPU per span, a round at a time."""

    def cost() -> float:
        bodies, now = rounds.take(name)
        begun = time.thread_time_ns()
        work(bodies, now)
        return (time.thread_time_ns() - begun) / (REQUESTS * 512) / 1000

    return cost


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    batches = [Batch(seed) for seed in range(REQUESTS)]
    for spread, within_ns in (("ended in the last 250 ms", TICK_NS), ("ended in the last 5 s", 20 * TICK_NS)):
        rounds = Rounds(batches, within_ns)
        costs = in_turns({name: timed(name, make(), rounds) for name, make in CANDIDATES.items()}, arguments.rounds)
        found = compared(costs, "ours", REFERENCE)
        yield Figure(f"compiled, {spread}", found.ratio, bar=0.40, detail=_detail(found))
        found = compared(costs, "scanner in Python", REFERENCE)
        yield Figure(f"scanner in Python, {spread}", found.ratio, detail=_detail(found))


def _detail(found: Compared) -> str:
    return f"{found.candidate:.2f} us a span against {found.reference:.2f} of {REFERENCE}"


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (9, "rounds to take the median of")})
