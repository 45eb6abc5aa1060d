"""A million span names, all different, in a minute: the series stay capped, the totals exact, the memory level.

The names are words of letters, so that no templating brings them together. The agent is a process of its own, with a
thousand ordinary spans counted before the flood; its memory is looked at every tenth of a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from bench.report import Figure, run
from payload import Batch, unique_name
from running import RunningAgent, running_agent, total

COUNT = "otel_latency_stage_duration_seconds_count"
SPANS = 500
MAX_SERIES = 2000


def flood(agent: RunningAgent, names: int, seconds: float) -> float:
    """Send *names* spans of a new name each, evenly over *seconds*; answers the most memory seen."""
    begun, most, looked = time.monotonic(), 0.0, 0.0
    for number in range(names // SPANS):
        time.sleep(max(begun + number * SPANS / names * seconds - time.monotonic(), 0))
        status, answer = agent.post(Batch(number + 100, SPANS, unique_name).fresh(time.time_ns()))
        assert (status, answer) == (200, b"")
        if time.monotonic() - looked > 0.1:
            most, looked = max(most, agent.memory()), time.monotonic()
    return most


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    with running_agent() as agent:
        for seed in (1, 2):
            agent.post(Batch(seed, SPANS).fresh(time.time_ns()))
        agent.metrics()
        before = agent.memory()
        begun = time.monotonic()
        most = max(flood(agent, arguments.names, arguments.seconds), agent.memory())
        elapsed = time.monotonic() - begun
        page = agent.metrics()
        sent = arguments.names // SPANS * SPANS + 2 * SPANS
        yield Figure("seconds for the flood", elapsed, "s", arguments.seconds + 5, f"{arguments.names} names")
        series = total(page, "otel_latency_agent_series")
        yield Figure("series", series, bar=MAX_SERIES)
        counted = total(page, COUNT)
        yield Figure("spans missing from the totals", abs(sent - counted), bar=0, detail=f"of {sent}")
        yield Figure("memory gained", most - before, "MiB", 10.0, f"from {before:.1f}")
        yield Figure("memory gained, after a scrape", agent.memory() - before, "MiB", 10.0)


if __name__ == "__main__":
    run(measure, __doc__, {"names": (1_000_000, "span names"), "seconds": (60.0, "how long it may take")})
