"""Each of the first writes and syncs of the whole agent fails, under load: it goes on, recovers, and loses nothing.

    python -m tests.chaos.disk_faults [--writes 60] [--syncs 20] [--seed N] [--jobs 1]

Needs strace, which lets the n-th pwrite64, fdatasync or fsync of each thread fail: with ENOSPC five times in a row, as
on a disk that is full for a while, or with EIO once. The threads are those of the log and of the history. The agent
must not end, and must have no fault left five seconds after the last of these; then it is killed. What the next one
knows must be each acknowledged span once, in counters and in minutes, and every database must be sound.

The control is `run` with `is_left_broken`: the faults do not end, and what was in memory only must be missed.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.delivery_kill import STAGES, Producers, in_minutes
from running import RunningAgent, running_agent, total

SPANS_PER_SECOND = 10_000.0
LIFE = {"pwrite64": 1.0, "fdatasync": 2.6, "fsync": 1.0}
"""Seconds of load within which the history's thread gets to its twentieth call, and the log's far beyond."""
PATIENCE = 15.0
FSYNCS = 2
"""Folders are rarely synced, with a new segment: `wal_faults` goes further."""
TIMES = {"ENOSPC": 5, "EIO": 1}
_INJECTED = re.compile(r"^\d+ +(\d+\.\d+) .*\(INJECTED\)", re.MULTILINE)


class Fault(NamedTuple):
    """The n-th of these calls fails with *error*."""

    call: str
    error: str
    nth: int
    is_left_broken: bool = False

    @property
    def when(self) -> str:
        return f"{self.nth}+" if self.is_left_broken else f"{self.nth}..{self.nth + TIMES[self.error] - 1}"

    def tracer(self, trace: Path) -> list[str]:
        """The command that an agent runs behind."""
        inject = f"inject={self.call}:error={self.error}:when={self.when}"
        options = ["-D", "-f", "-qq", "--seccomp-bpf", "-ttt", "-o", str(trace)]
        return ["strace", *options, "-e", f"trace={self.call}", "-e", "signal=none", "-e", inject]


@dataclass(frozen=True)
class Found:
    """What came of a fault: how often it was injected, and the seconds from the last time to a sound agent."""

    fault: Fault
    injected: int
    recovered_in: float
    acknowledged: int
    nondurable: int
    counted: int
    minutes: int
    damaged: tuple[str, ...]

    @property
    def is_well(self) -> bool:
        """Whether it recovered in time, and nothing was lost or counted twice."""
        is_whole = self.acknowledged == self.counted == self.minutes
        return is_whole and self.recovered_in <= 5.0 and not self.damaged


def inject(fault: Fault, seed: int, life: float | None = None) -> Found:
    """AssertionError where the agent ends."""
    producers = Producers(SPANS_PER_SECOND, seed)
    with tempfile.TemporaryDirectory() as name:
        folder, trace = Path(name), Path(name, "trace")
        with running_agent(prefix=fault.tracer(trace), directory=folder) as agent:
            producers.agent = agent
            producers.start()
            try:
                last_ill = watched(agent, LIFE[fault.call] if life is None else life, until_well=False)
            finally:
                producers.stop()
            if not fault.is_left_broken:
                last_ill = max(last_ill, watched(agent, PATIENCE, until_well=True))
            nondurable = int(total(agent.metrics(), "otel_latency_agent_acked_nondurable_spans_total"))
            assert agent.process.poll() is None, f"the agent ended: {agent.log()}"
            agent.process.kill()
        injected = [float(moment) for moment in _INJECTED.findall(trace.read_text())]
        damaged = tuple(path.name for path in folder.glob("otel-latency-data/*.db") if not is_sound(path))
        with running_agent(directory=folder) as agent:
            counted, minutes = int(total(agent.metrics(), STAGES)), in_minutes(agent)
    recovered_in = max(0.0, last_ill - max(injected, default=last_ill))
    acknowledged = producers.acknowledged
    return Found(fault, len(injected), recovered_in, acknowledged, nondurable, counted, minutes, damaged)


def watched(agent: RunningAgent, seconds: float, *, until_well: bool) -> float:
    """Look at the agent for so long, or until it is well; when it was last seen to be ill, or 0."""
    last_ill, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        if faults(agent):
            last_ill = time.time()
        elif until_well:
            break
        time.sleep(0.05)
    return last_ill


def faults(agent: RunningAgent) -> list[str]:
    """What keeps it from being as durable as it says."""
    status, answer = agent.get("/status")
    assert status == 200, answer
    told = json.loads(answer)
    return [one for one in (told["log"]["fault"], told["history"]["fault"]) if one]


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def cases(writes: int, syncs: int) -> Iterator[Fault]:
    calls = {"pwrite64": writes, "fdatasync": syncs, "fsync": min(syncs, FSYNCS)}
    for call, most in calls.items():
        for nth in range(1, most + 1):
            for error in TIMES:
                yield Fault(call, error, nth)


def run(writes: int, syncs: int, seed: int, jobs: int) -> bool:
    """Whether all is well; tells of each fault that is not, or that was not reached, when it has been, and of all."""
    if not shutil.which("strace"):
        raise FileNotFoundError("this needs strace")
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for one in pool.map(lambda fault: inject(fault, seed), cases(writes, syncs)):
            results.append(one)
            if not (one.is_well and one.injected):
                print(one, flush=True)
    wrong, unreached = sum(not one.is_well for one in results), sum(not one.injected for one in results)
    print(
        f"{len(results)} faults, {unreached} not reached; {wrong} not survived; "
        f"{sum(one.acknowledged for one in results):,} spans acknowledged, {sum(one.counted for one in results):,} "
        f"counted, {sum(one.nondurable for one in results):,} acknowledged from memory; recovered after at most "
        f"{max(one.recovered_in for one in results):.1f} s"
    )
    return not wrong and not unreached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writes", type=int, default=60, help="up to which write (%(default)s)")
    parser.add_argument("--syncs", type=int, default=20, help="up to which sync (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="agents at a time (%(default)s)")
    arguments = parser.parse_args()
    return int(not run(arguments.writes, arguments.syncs, arguments.seed, arguments.jobs))


if __name__ == "__main__":
    sys.exit(main())
