"""What the API costs the agent's loop: an overview, which a live page asks for four times a second, and a long answer.

A hundred label sets of stages, turns and calls have seen a minute of spans. The figure of a document is the best of
fifty, in CPU time, the families it is made of not included. The long answer is a hundred lines of three hundred points,
and how long nobody else had a turn while it was made.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator

from bench.report import Figure, run

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.overview import Overview
from otel_latency.config.sections import DEFAULT_TARGETS
from otel_latency.records import Family, LLMProfile, Profile
from otel_latency.web.parts import reply_in_parts

NOW = 1_700_000_000.0
PROFILES = (
    *(Profile(f"bot {number % 5}", stage=f"stage {number}") for number in range(60)),
    *(Profile("bot", turn=f"turn {number}") for number in range(10)),
    *(
        Profile("bot", stage="llm", llm=LLMProfile(f"provider {number}", "model", "reply", "chat"))
        for number in range(15)
    ),
)
POINT = dict.fromkeys(("start", "count", "sum", "min", "max", "p50", "p90", "p95", "p99"), 1_763_990.123456789)
LINES, POINTS = 100, 300


def measure(_arguments: argparse.Namespace) -> Iterator[Figure]:
    aggregator, overview = Aggregator(), Overview(DEFAULT_TARGETS)
    families = a_minute(aggregator, overview)
    now = NOW + 60
    sets = f"{aggregator.series} label sets"
    document = best(lambda: overview.document(now, families))
    yield Figure("an overview", document, "ms", 3.0, sets)
    yield Figure("a tick of it, whether somebody looks or not", best(lambda: overview.tick(now, families)), "ms", 1.0)
    size, held = asyncio.run(longest_hold())
    yield Figure("longest hold of the loop by a long answer", held, "ms", 25.0, f"{size / 2**20:.1f} MiB")


def a_minute(aggregator: Aggregator, overview: Overview) -> list[Family]:
    """Three spans a second of each profile."""
    spans = 0
    for second in range(60):
        end_ns = round((NOW + second) * 1e9)
        rows = []
        for profile in PROFILES:
            for length in (1, 2, 3):
                spans += 1
                ids = spans.to_bytes(16, "big"), spans.to_bytes(8, "big"), b""
                measures = {"ttft": 0.1, "ttfa": 0.2} if profile.turn else None
                rows.append((profile, *ids, end_ns - length * 10**8, end_ns, measures))
        aggregator.add(rows, NOW + second)
        overview.tick(NOW + second, aggregator.families(NOW + second))
    return aggregator.families(NOW + 60)


def best(work: Callable[[], object]) -> float:
    """Milliseconds."""
    costs = []
    for _ in range(50):
        began = time.process_time()
        work()
        costs.append(time.process_time() - began)
    return min(costs) * 1000


async def longest_hold() -> tuple[int, float]:
    """The size of a long answer, and the milliseconds in which nobody else had a turn."""
    longest = 0.0

    async def others() -> None:
        nonlocal longest
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    points = [dict(POINT) for _ in range(POINTS)]
    answer = await reply_in_parts(
        {"series": [{"labels": {"stage": str(line)}, "points": points} for line in range(LINES)]}
    )
    await asyncio.sleep(0)
    task.cancel()
    assert isinstance(answer.body, bytes)
    return len(answer.body), longest * 1000


if __name__ == "__main__":
    run(measure, __doc__)
