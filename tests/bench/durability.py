"""What the durable log costs the agent: how long an acknowledgement takes, and how much fewer requests it can take.

The agent is the real process. Acknowledgements are timed at 2,000 spans/s, in requests of 512 spans of 300 kB.
Throughput is that of one core, in turns with an agent whose `store.durability` is `memory`; the client sits on another
core, with eight requests in flight. The bar of 1.43 for the time of a request is a throughput of 0.7. Disks differ: the
log of this bench is in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from statistics import median, quantiles

from bench.report import Figure, compared, in_turns, run
from load import load_from_beside
from payload import Batch
from running import PROTOBUF, RunningAgent, cpu_seconds, pin, running_agent

SPANS = 512
RATE = 2_000
MEMORY = {"store.durability": "memory"}


def acknowledged(agent: RunningAgent, count: int) -> list[float]:
    """How long each of so many requests took to be answered, in ms."""
    batch, took = Batch(spans=SPANS), []
    connection = HTTPConnection("127.0.0.1", agent.http_port, timeout=10.0)
    start = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, start + number * SPANS / RATE - time.perf_counter()))
        body = batch.fresh(time.time_ns())
        began = time.perf_counter()
        connection.request("POST", "/v1/traces", body, PROTOBUF)
        answer = connection.getresponse()
        assert (200, b"") == (answer.status, answer.read())
        took.append(1e3 * (time.perf_counter() - began))
    connection.close()
    return took


def spell(agent: RunningAgent, seconds: float, cpu: list[float]) -> Callable[[], float]:
    """Microseconds that a request takes, in one spell of load; CPU time goes to *cpu*."""
    pin(agent.pid, 0)

    def cost() -> float:
        before = cpu_seconds(agent.pid)
        sent = load_from_beside(agent.http_port, seconds, connections=8)
        assert not sent.refused, f"{sent.refused} requests were refused"
        cpu.append(1e6 * (cpu_seconds(agent.pid) - before) / sent.requests)
        return 1e6 * sent.seconds / sent.requests

    return cost


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    cpu: dict[str, list[float]] = {"on": [], "off": []}
    with running_agent() as on, running_agent(MEMORY) as off:
        agents = {"on": on, "off": off}
        spells = {name: spell(agent, arguments.seconds, cpu[name]) for name, agent in agents.items()}
        costs = in_turns(spells, arguments.rounds)
    found = compared(costs, "on", "off")
    detail = f"{SPANS * 1e6 / found.candidate:,.0f} spans/s against {SPANS * 1e6 / found.reference:,.0f}"
    yield Figure("time of a request with the log, of that without", found.ratio, bar=1.43, detail=detail)
    spent = compared(cpu, "on", "off")
    detail = f"{spent.candidate:.0f} us against {spent.reference:.0f}"
    yield Figure("CPU of a request with the log, of that without", spent.ratio, detail=detail)
    with running_agent() as on:
        took = acknowledged(on, arguments.count)
    detail = f"median {median(took):.1f} ms"
    yield Figure("p99 of an acknowledgement at 2,000 spans/s", quantiles(took, n=100)[98], "ms", 50, detail)


if __name__ == "__main__":
    spells = {"rounds": (5, "rounds to take the median of"), "seconds": (2.0, "length of each spell")}
    run(measure, __doc__, {**spells, "count": (120, "acknowledgements to time")})
