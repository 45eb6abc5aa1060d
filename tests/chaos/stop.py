"""SIGTERM of the whole agent under load, with live pages open: how soon it ends, and what is lost.

    python -m tests.chaos.stop 50 [--seed N] [--spans-per-second N] [--kill]

While producers send, three readers follow the live page's events, two ask for pages again and again, and one sender
stalls in the middle of its request. At a random moment the agent is told to stop, has to end by itself with code 0
within five seconds, and is started again on what it left. Producers send a batch until it is acknowledged, so at the
end each span must have been counted once, in counters and in minutes, and after each stop no fewer than acknowledged.

`--kill` is the control: SIGKILL, with `store.durability: memory`, which must be noticed and must lose.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.delivery_kill import STAGES, Producers, in_minutes
from running import RunningAgent, running_agent, total

LIFE = (0.3, 1.5)
"""Seconds between the start and the stop."""
STREAMS = 3
PAGES = ("/metrics", "/status")
PATIENCE = 10.0
STALLED = b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\nContent-Length: 9\r\n\r\n"


@dataclass
class Found:
    """What was seen in all stops."""

    acknowledged: int = 0
    lost: int = 0
    counted: int = 0
    minutes: int = 0
    slowest_exit: float = 0.0
    bad_exits: int = 0
    events: int = 0

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} spans acknowledged, {self.lost:,} lost; {self.counted:,} counted, {self.minutes:,} "
            f"in minutes; ended after at most {self.slowest_exit:.2f} s, {self.bad_exits} with a code; "
            f"{self.events:,} events were streamed"
        )

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost or counted twice, and each end was a good one in time."""
        is_whole = not self.lost and self.acknowledged == self.counted == self.minutes
        return is_whole and not self.bad_exits and self.slowest_exit <= 5.0 and bool(self.events)


class Watchers:
    """Threads that are connected to *agent* in every way that could keep it from ending."""

    def __init__(self, agent: RunningAgent) -> None:
        self.events = 0
        self._agent = agent
        self._is_over = threading.Event()
        works: list[Callable[[], None]] = [self._follow] * STREAMS
        works += [lambda page=page: self._ask(page) for page in PAGES]
        self._threads = [threading.Thread(target=self._until_over, args=(work,)) for work in works]

    @contextmanager
    def connected(self) -> Iterator[None]:
        with ExitStack() as stack:
            stalled = stack.enter_context(socket.create_connection(("127.0.0.1", self._agent.http_port)))
            stalled.sendall(STALLED)
            for thread in self._threads:
                thread.start()
            try:
                yield
            finally:
                self._is_over.set()
                for thread in self._threads:
                    thread.join()

    def _until_over(self, work: Callable[[], None]) -> None:
        while not self._is_over.is_set():
            try:
                work()
            except (OSError, HTTPException):
                self._is_over.wait(0.02)  # the agent is stopping

    def _follow(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._agent.web_port, timeout=PATIENCE)
        try:
            connection.request("GET", "/api/v1/stream")
            for line in connection.getresponse():
                self.events += line.startswith(b"event:")
        finally:
            connection.close()

    def _ask(self, page: str) -> None:
        self._agent.get(page, timeout=PATIENCE)


def stop(agent: RunningAgent, how: signal.Signals, found: Found) -> None:
    """Send the signal and see how the agent ends."""
    began = time.monotonic()
    agent.process.send_signal(how)
    code = agent.process.wait(60.0)
    found.slowest_exit = max(found.slowest_exit, time.monotonic() - began)
    found.bad_exits += code != 0


def run(stops: int, seed: int = 1, spans_per_second: float = 2_000.0, *, kill: bool = False) -> Found:
    rng, found = random.Random(seed), Found()
    producers = Producers(spans_per_second, seed)
    how = signal.SIGKILL if kill else signal.SIGTERM
    settings = {"store.durability": "memory"} if kill else {}
    with tempfile.TemporaryDirectory() as folder:
        producers.start()
        try:
            for _ in range(stops):
                with running_agent(settings, directory=Path(folder)) as agent:
                    compare(agent, producers, found)
                    watchers = Watchers(agent)
                    with watchers.connected():
                        producers.agent = agent
                        time.sleep(rng.uniform(*LIFE))
                        stop(agent, how, found)
                        producers.agent = None
                    found.events += watchers.events
            with running_agent(settings, directory=Path(folder)) as agent:
                compare(agent, producers, found)
                producers.agent = agent
                producers.stop()
                found.acknowledged = producers.acknowledged
                found.counted, found.minutes = int(total(agent.metrics(), STAGES)), in_minutes(agent)
        finally:
            producers.stop()
    return found


def compare(agent: RunningAgent, producers: Producers, found: Found) -> None:
    """What a new agent knows against what was acknowledged by the old ones."""
    found.lost = max(found.lost, producers.acknowledged - int(total(agent.metrics(), STAGES)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stops", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spans-per-second", type=float, default=2_000.0)
    parser.add_argument("--kill", action="store_true", help="the control")
    arguments = parser.parse_args()
    found = run(arguments.stops, arguments.seed, arguments.spans_per_second, kill=arguments.kill)
    print(f"{arguments.stops} stops: {found}")
    return int(found.is_well or not found.lost) if arguments.kill else int(not found.is_well)


if __name__ == "__main__":
    sys.exit(main())
