"""Quantiles of a million values against the exact nearest rank, after merging windows in a random order.

The values go through windows of 250 ms as in the agent: each lands in a small sketch, these merge into larger ones
and those into one, shuffled at every level. The bar is the sketch's promise, 0.55 %.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from math import ceil

from bench.report import Figure, run

from otel_latency.sketch import Sketch

QUANTILES = (0.5, 0.9, 0.99, 0.999)
PER_WINDOW, WINDOWS_PER_MERGE = 300, 40

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "lognormal": lambda rng: rng.lognormvariate(-1, 1),
    "bimodal 8 ms / 2.5 s": lambda rng: rng.gauss(0.008, 0.0008) if rng.random() < 0.7 else rng.gauss(2.5, 0.25),
    "Pareto, alpha 1.2": lambda rng: 0.01 * rng.paretovariate(1.2),
}


def merged(sketches: list[Sketch], rng: random.Random) -> list[Sketch]:
    """Groups of `WINDOWS_PER_MERGE`, each merged into a new sketch."""
    rng.shuffle(sketches)
    targets = []
    for start in range(0, len(sketches), WINDOWS_PER_MERGE):
        target = Sketch()
        for sketch in sketches[start : start + WINDOWS_PER_MERGE]:
            target.merge(sketch)
        targets.append(target)
    return targets


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    rng = random.Random(arguments.seed)
    for name, draw in DISTRIBUTIONS.items():
        values = [draw(rng) for _ in range(arguments.values)]
        everything = Sketch(values)
        sketches = [Sketch(values[start : start + PER_WINDOW]) for start in range(0, len(values), PER_WINDOW)]
        while len(sketches) > 1:
            sketches = merged(sketches, rng)
        (whole,) = sketches
        assert whole.bucket_counts() == everything.bucket_counts(), "merging changed the counts"
        ordered = sorted(values)
        exact = {q: ordered[ceil(q * len(ordered)) - 1] for q in QUANTILES}
        errors = {q: 100 * abs(whole.quantile(q) / exact[q] - 1) for q in QUANTILES}
        detail = " ".join(f"p{100 * q:g} {error:.2f}" for q, error in errors.items())
        yield Figure(f"worst relative error, {name}", max(errors.values()), "%", 0.55, detail)


if __name__ == "__main__":
    run(measure, __doc__, {"values": (1_000_000, "values of each distribution"), "seed": (1, "of the random values")})
