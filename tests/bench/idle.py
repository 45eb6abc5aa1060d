"""What an idle agent costs, and how soon it is there.

Memory is VmRSS and CPU is user and system time of the process, with its 250 ms ticks, its collectors and nobody who
sends or scrapes. The start is from fork to the first 200 of /health/ready, which comes after the receivers listen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

from bench.report import Figure, run
from running import running_agent

VARIANTS = {
    "both receivers": ({}, 64.0),
    "HTTP only": ({"otlp.grpc.enabled": "false"}, 52.0),
}


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    for name, (settings, bar) in VARIANTS.items():
        starts = []
        for _ in range(arguments.starts - 1):
            with running_agent(settings) as agent:
                starts.append(agent.started_in)
        with running_agent(settings) as agent:
            starts.append(agent.started_in)
            time.sleep(1.0)  # what starting costs is not idling
            before, begun = agent.cpu_seconds(), time.monotonic()
            time.sleep(arguments.seconds)
            cpu = (agent.cpu_seconds() - before) / (time.monotonic() - begun)
            memory = agent.memory()
        yield Figure(f"memory, {name}", memory, "MiB", bar)
        yield Figure(f"CPU of a core, {name}", 100 * cpu, "%", 1.5)
        yield Figure(f"start to first 200, {name}", median(starts), "s", 0.6, f"of {len(starts)} starts")


if __name__ == "__main__":
    run(measure, __doc__, {"seconds": (20.0, "how long to idle"), "starts": (5, "starts to take the median of")})
