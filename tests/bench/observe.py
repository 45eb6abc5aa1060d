"""One value into a sketch: ours against ddsketch's `add`.

`add` takes one value at a time, `extend` a thousand, as the aggregator does. All sketches are past the number of
values that they keep as they are.
"""

from __future__ import annotations

import argparse
import random
import time
from array import array
from collections.abc import Callable, Iterable, Iterator

import ddsketch
from bench.report import Figure, compared, in_turns, run

from otel_latency.sketch import Sketch

COUNT = 100_000
CHUNK = 1000


def timed(work: Callable[[], None]) -> Callable[[], float]:
    """Nanoseconds of CPU per value."""

    def cost() -> float:
        begun = time.thread_time_ns()
        work()
        return (time.thread_time_ns() - begun) / COUNT

    return cost


def one_by_one(add: Callable[[float], None], values: Iterable[float]) -> Callable[[], None]:
    def work() -> None:
        for value in values:
            add(value)

    return work


def by_chunks(sketch: Sketch, values: array[float]) -> Callable[[], None]:
    chunks = [values[start : start + CHUNK] for start in range(0, COUNT, CHUNK)]

    def work() -> None:
        for chunk in chunks:
            sketch.extend(chunk)

    return work


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    rng = random.Random(1)
    values = array("d", [rng.lognormvariate(0, 1) for _ in range(COUNT)])
    candidates = {
        "Sketch.add": one_by_one(Sketch().add, values),
        "Sketch.extend": by_chunks(Sketch(), values),
        "ddsketch": one_by_one(ddsketch.DDSketch(0.01).add, values),
    }
    costs = in_turns({name: timed(work) for name, work in candidates.items()}, arguments.rounds)
    for name, bar in (("Sketch.add", None), ("Sketch.extend", None)):
        found = compared(costs, name, "ddsketch")
        yield Figure(name, found.ratio, bar=bar, detail=f"{found.candidate:.0f} ns against {found.reference:.0f}")


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (9, "rounds to take the median of")})
