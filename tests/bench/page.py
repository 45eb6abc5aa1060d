"""What the live page costs the agent: its CPU while one looks and while nobody does, and memory for who takes nothing.

The agent has 96 label sets (12 kinds of turns of 7 stages each), and four turns a second of each kind, 384 spans, keep
coming. Rounds with a viewer and rounds without take turns; the figure is the median of what they differ by, in CPU time
of the process. Nobody's figure compares rounds after the last viewer has left with an agent that nobody ever looked at.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from statistics import median

from bench.report import Figure, run
from running import RunningAgent, running_agent

KINDS, STAGES = 12, 7
SERIES = KINDS * (1 + STAGES)
EVERY = 0.25
LETTERS = "abcdefghijkl"  # numbers in names would be taken for parameters
STALLED = 20
JSON = {"Content-Type": "application/json"}
SETTLE = 1.5


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    with running_agent() as agent, traffic(agent), running_agent() as lonely, traffic(lonely):
        time.sleep(5 * SETTLE)
        with_viewer, without, unseen = [], [], []
        for _ in range(arguments.rounds):
            with viewer(agent) as seen:
                time.sleep(SETTLE)
                with_viewer.append(cpu(agent, arguments.seconds)[0])
            time.sleep(SETTLE)
            nobody, never = cpu(agent, arguments.seconds, lonely)
            without.append(nobody)
            unseen.append(nobody - never)
        cost = [100 * (one - other) for one, other in zip(with_viewer, without, strict=True)]
        size = seen[0] / max(seen[1], 1) / 1024
        sets = f"{SERIES} label sets, {size:.0f} KiB a snapshot, {100 * median(without):.1f} % for the spans"
        yield Figure("CPU of a core for one viewer", median(cost), "%", 3.0, sets)
        yield Figure("CPU of a core for nobody", 100 * median(unseen), "%", 0.5)
        with viewer(agent):
            time.sleep(SETTLE)
            first = agent.memory()
            time.sleep(2 * arguments.seconds)
            second = agent.memory()
            connections = [stalled(agent) for _ in range(STALLED)]
            time.sleep(2 * arguments.seconds)
            grown, usual = agent.memory() - second, second - first
            for connection in connections:
                connection.close()
        told = f"{grown:.2f} MiB, less the {usual:.2f} MiB that the windows grow by meanwhile"
        yield Figure(f"memory for {STALLED} viewers who take nothing", grown - usual, "MiB", 2.0, told)


def cpu(agent: RunningAgent, seconds: float, *others: RunningAgent) -> list[float]:
    """Shares of a core, of all in the same time."""
    spent, began = [one.cpu_seconds() for one in (agent, *others)], time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    return [(one.cpu_seconds() - before) / elapsed for one, before in zip((agent, *others), spent, strict=True)]


@contextmanager
def traffic(agent: RunningAgent) -> Iterator[None]:
    """A turn of each kind every 250 ms, until the block ends."""
    done, numbers = threading.Event(), count(1)

    def send() -> None:
        while not done.wait(EVERY):
            agent.post(request(numbers), JSON)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield
    finally:
        done.set()
        sending.join()


def request(numbers: Iterator[int]) -> bytes:
    """One turn of each kind, in OTLP/JSON."""
    services: dict[str, list[object]] = {}
    for kind in range(KINDS):
        services.setdefault(f"service {LETTERS[kind % 3]}", []).extend(turn(kind, numbers))
    return json.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
                    "scopeSpans": [{"spans": spans}],
                }
                for service, spans in services.items()
            ]
        }
    ).encode()


def turn(kind: int, numbers: Iterator[int]) -> list[object]:
    """A root and its stages, one after the other."""
    trace, root, end_ns = next(numbers), next(numbers), time.time_ns()
    whole_ns = 200_000_000 + 37_000_000 * (trace % 30)
    step_ns = whole_ns // STAGES
    begins = [(f"turn {LETTERS[kind]}", root, "", end_ns - whole_ns, end_ns)]
    for stage in range(STAGES):
        start_ns = end_ns - whole_ns + stage * step_ns
        begins.append(
            (f"stage {LETTERS[kind]} {LETTERS[stage]}", next(numbers), f"{root:016x}", start_ns, start_ns + step_ns)
        )
    return [
        {
            "traceId": f"{trace:032x}",
            "spanId": f"{number:016x}",
            "parentSpanId": parent,
            "name": name,
            "startTimeUnixNano": str(start_ns),
            "endTimeUnixNano": str(stop_ns),
        }
        for name, number, parent, start_ns, stop_ns in begins
    ]


@contextmanager
def viewer(agent: RunningAgent) -> Iterator[list[int]]:
    """Somebody who looks during the block; the list is the bytes and the snapshots that they saw."""
    connection = HTTPConnection("127.0.0.1", agent.web_port, timeout=10)
    connection.request("GET", "/api/v1/stream")
    response = connection.getresponse()
    seen = [0, 0]

    def look() -> None:
        try:
            while data := response.read1(1 << 16):
                seen[0] += len(data)
                seen[1] += data.count(b"event: snapshot")
        except (OSError, HTTPException, ValueError, AttributeError):
            return  # the block is over

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        connection.sock.shutdown(socket.SHUT_RDWR)
        looking.join()
        connection.close()


def stalled(agent: RunningAgent) -> socket.socket:
    """Somebody who asks and takes nothing."""
    connection = socket.create_connection(("127.0.0.1", agent.web_port))
    connection.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


if __name__ == "__main__":
    run(measure, __doc__, {"seconds": (4.0, "how long a round is"), "rounds": (4, "rounds with a viewer")})
