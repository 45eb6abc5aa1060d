"""Kill -9 of the whole agent under load: what was acknowledged against what it knows afterwards.

    python -m tests.chaos.delivery_kill 200 [--seed N] [--spans-per-second N]

Producers send batches as exporters do: one that was not acknowledged is sent again until it is. At random moments the
agent is killed, and started again on what it left. At the end every span has been acknowledged once, and the counters,
which go on over restarts, must have counted it once; so must the history's minutes. What an agent took that was killed
before it said so is sent again, to the next one, and counts once all the same.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from http.client import HTTPException
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from payload import Batch
from running import RunningAgent, running_agent, total

SPANS = 64
PRODUCERS = 3
LIFE = (0.2, 1.5)
"""Seconds between two kills."""
STAGES = "otel_latency_stages_total"
SERIES = "otel_latency_stage_duration_seconds"


class Producers:
    """Threads that send; `agent` is where to, None while there is none."""

    def __init__(self, spans_per_second: float, seed: int) -> None:
        self.agent: RunningAgent | None = None
        self.acknowledged = 0
        self.in_doubt = 0
        """Spans of batches that an agent may have taken without an answer."""
        self._pause = PRODUCERS * SPANS / spans_per_second
        self._stopping = threading.Event()
        self._is_patient = True
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(seed + n,)) for n in range(PRODUCERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, *, is_patient: bool = True) -> None:
        """No new batches; those under way are sent until they are acknowledged, or given up."""
        self._stopping.set()
        self._is_patient = is_patient
        for thread in self._threads:
            thread.join()

    def _send(self, seed: int) -> None:
        batch = Batch(seed, SPANS)
        while not self._stopping.wait(self._pause):
            body, is_in_doubt = batch.fresh(time.time_ns()), False
            while (answer := self._answer(body)) != 200:
                if not self._is_patient:
                    return
                is_in_doubt |= answer is None
                time.sleep(0.02)
            with self._lock:
                self.acknowledged += batch.count
                self.in_doubt += batch.count * is_in_doubt

    def _answer(self, body: bytes) -> int | None:
        """The status, 0 where nobody was there, None where it ended without one."""
        agent = self.agent
        try:
            return agent.post(body, timeout=5.0)[0] if agent is not None else 0
        except ConnectionRefusedError:
            return 0
        except (OSError, HTTPException):
            return None


def in_minutes(agent: RunningAgent) -> int:
    """What the history's minutes hold."""
    status, answer = agent.get(f"/api/v1/history?series={SERIES}&from=-1h&step=1h", timeout=30.0)
    assert status == 200, answer
    return sum(point["count"] for one in json.loads(answer)["series"] for point in one["points"])


def run(kills: int, seed: int = 1, spans_per_second: float = 4_000.0) -> str:
    """The verdict in a line. AssertionError where something was lost or counted twice."""
    rng = random.Random(seed)
    producers = Producers(spans_per_second, seed)
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        producers.start()
        try:
            for _ in range(kills):
                with running_agent(directory=Path(folder)) as agent:
                    slowest = max(slowest, agent.started_in)
                    producers.agent = agent
                    time.sleep(rng.uniform(*LIFE))
                    agent.process.kill()
                    producers.agent = None
            with running_agent(directory=Path(folder)) as agent:
                producers.agent = agent
                producers.stop()
                counted, minutes = int(total(agent.metrics(), STAGES)), in_minutes(agent)
                log = agent.get("/status")[1]
        finally:
            producers.stop()
    verdict = (
        f"{kills} kills, {producers.acknowledged:,} spans acknowledged, {producers.in_doubt:,} of them sent twice, "
        f"{counted:,} counted, {minutes:,} in minutes, ready after at most {slowest:.2f} s"
    )
    assert producers.acknowledged == counted == minutes, f"{verdict}; {json.loads(log)['log']}"
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spans-per-second", type=float, default=4_000.0)
    arguments = parser.parse_args()
    print(run(arguments.kills, arguments.seed, arguments.spans_per_second))


if __name__ == "__main__":
    main()
