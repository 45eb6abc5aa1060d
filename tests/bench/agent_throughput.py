"""The whole agent under 512-span requests, against a naive aiohttp server in the same run.

The agent is the real process: both receivers, collectors, ticks and the filter of duplicates, which no span of the
load passes twice. The reference is `bench.naive`, re-serialising each request into a bounded queue; the one without
is shown beside it. The figure is CPU of the server process per request; the client sits on another core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.report import Figure, compared, in_turns, run
from load import load_from_beside
from running import cpu_seconds, end, pin, running_agent

SPANS = 512


@contextmanager
def running_naive(*arguments: str) -> Iterator[tuple[int, int]]:
    """(pid, port) of a naive server."""
    command = [sys.executable, "-m", "bench.naive", *arguments]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield process.pid, int(process.stdout.readline())
        finally:
            end(process)


def per_request(pid: int, port: int, seconds: float) -> Callable[[], float]:
    """Microseconds of CPU per request of one spell of load."""
    pin(pid, 0)

    def cost() -> float:
        before = cpu_seconds(pid)
        sent = load_from_beside(port, seconds)
        assert not sent.refused, f"{sent.refused} requests were refused"
        return (cpu_seconds(pid) - before) / sent.requests * 1e6

    return cost


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    with ExitStack() as stack:
        agent = stack.enter_context(running_agent())
        servers = {
            "agent": (agent.pid, agent.http_port),
            "naive": stack.enter_context(running_naive("forward")),
            "naive without forwarding": stack.enter_context(running_naive()),
        }
        costs = in_turns(
            {name: per_request(*server, arguments.seconds) for name, server in servers.items()}, arguments.rounds
        )
    for reference, bar in (("naive", 0.45), ("naive without forwarding", None)):
        found = compared(costs, "agent", reference)
        detail = f"{found.candidate:.0f} us a request against {found.reference:.0f}"
        yield Figure(f"CPU per request against {reference}", found.ratio, bar=bar, detail=detail)
    yield Figure("spans a second and core", SPANS / found.candidate * 1e6, detail=f"naive {_per_core(costs):,.0f}")


def _per_core(costs: dict[str, list[float]]) -> float:
    return SPANS / compared(costs, "naive", "naive").candidate * 1e6


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (5, "rounds to take the median of"), "seconds": (2.0, "length of each spell")})
