"""How often `otel-latency compare` calls a run different from its like, and how often it finds what became slower.

Runs are of 500 requests, with stages of lognormal times (two thirds within a factor of e^0.35 of the median, as in the
demo's pipeline) and their total. A pair of like runs counts when any of its stages is called different.

The same of providers side by side: a table counts when any of its providers is called slower.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from math import log
from random import Random

from bench.report import Figure, run

from otel_latency.significance import side_by_side
from otel_latency.significance.comparison import SAME, SLOWER, compare

PAIRS = 1_000
REQUESTS = 500
MEDIANS = {"stt": 0.16, "retrieval": 0.06, "llm": 0.9, "tts": 0.13}
SPREAD = 0.35
RESEMBLANCE = 0.6
"""Of a request's times to those of the one before, where providers have slow spells."""

Run = Mapping[str, list[float]]


def like(random: Random, stages: int, slower: Mapping[str, float] | None = None) -> Run:
    """A run; *slower* multiplies the times of some stages."""
    times = {
        stage: [random.lognormvariate(log(median * (slower or {}).get(stage, 1.0)), SPREAD) for _ in range(REQUESTS)]
        for stage, median in list(MEDIANS.items())[-stages:]
    }
    return {**times, "total": [sum(one) for one in zip(*times.values(), strict=True)]}


def wandering(random: Random) -> Run:
    """A run whose requests resemble the ones before."""
    state, times = 0.0, []
    for _ in range(REQUESTS):
        state = RESEMBLANCE * state + random.gauss(0.0, SPREAD)
        times.append(MEDIANS["llm"] * 2.718**state)
    return {"llm": times}


def is_different(a: Run, b: Run) -> bool:
    return any(one.verdict != SAME for one in compare(a, b))


def providers(random: Random, count: int, calls: int = REQUESTS) -> dict[side_by_side.Group, list[float]]:
    return {(str(i),): [random.lognormvariate(0.0, SPREAD) for _ in range(calls)] for i in range(count)}


def is_slower(groups: Mapping[side_by_side.Group, list[float]]) -> bool:
    return any(place.verdict == side_by_side.SLOWER for place in side_by_side.compare(groups))


def share(hits: int, pairs: int = PAIRS) -> float:
    return 100.0 * hits / pairs


def measure(_options: argparse.Namespace) -> Iterator[Figure]:
    for stages, what in ((4, "four stages"), (1, "one stage")):
        alarms = 0
        for seed in range(PAIRS):
            random = Random(f"{stages} {seed}")
            alarms += is_different(like(random, stages), like(random, stages))
        yield Figure(f"like runs called different, {what}", share(alarms), "%", 5.0, f"{PAIRS:,} pairs")
    alarms = 0
    for seed in range(PAIRS):
        random = Random(f"wandering {seed}")
        alarms += is_different(wandering(random), wandering(random))
    yield Figure("like runs with slow spells called different", share(alarms), "%", 5.0, f"{PAIRS:,} pairs")
    for stages, slow, what in (
        (1, ("tts",), "one stage"),
        (4, ("llm",), "one of four stages"),
        (4, tuple(MEDIANS), "all four"),
    ):
        missed = 0
        for seed in range(PAIRS):
            random = Random(f"{what} {seed}")
            found = compare(like(random, stages), like(random, stages, dict.fromkeys(slow, 1.1)))
            missed += not all(one.verdict == SLOWER for one in found if one.stage == slow[0])
        yield Figure(f"10 % slower and not found, {what}", share(missed), "%", 10.0, f"{PAIRS:,} pairs")
    yield from measure_side_by_side()


def measure_side_by_side() -> Iterator[Figure]:
    for count, calls in ((2, REQUESTS), (5, REQUESTS), (10, 200), (5, 20)):
        alarms = sum(is_slower(providers(Random(f"{count} {seed}"), count, calls)) for seed in range(PAIRS))
        what = f"tables of {count} like providers with one called slower"
        yield Figure(what, share(alarms), "%", 5.0, f"{PAIRS:,} tables, {calls} calls each")
    alarms = 0
    for seed in range(PAIRS):
        random = Random(f"wandering providers {seed}")
        alarms += is_slower({(str(i),): wandering(random)["llm"] for i in range(3)})
    yield Figure("the same of 3 with slow spells", share(alarms), "%", 5.0, f"{PAIRS:,} tables")
    missed = 0
    for seed in range(PAIRS):
        groups = providers(Random(f"slow provider {seed}"), 2)
        groups["slow",] = [1.1 * seconds for seconds in groups.pop(("1",))]
        missed += not is_slower(groups)
    yield Figure("a provider 10 % slower than the other and not found", share(missed), "%", 10.0, f"{PAIRS:,} tables")
    groups = providers(Random("cost"), 10, 5_000)
    costs = []
    for _ in range(5):
        began = time.process_time()
        side_by_side.compare(groups)
        costs.append(time.process_time() - began)
    yield Figure("a table of 10 providers with 5,000 calls each", min(costs) * 1000, "ms", 20.0)


if __name__ == "__main__":
    run(measure, __doc__)
