"""Power cuts of the whole agent under load: what it had acknowledged against what it knows on the disk as it was.

    python -m tests.chaos.delivery_power_cut 50 [--seed N] [--without-fsync]

Needs root and mkfs.ext4. The agent keeps its data in a file system on a loop image. At a random moment it is stopped,
and the image is copied as it is: what the kernel had not yet written to it is lost, as in a power cut. The next agent
starts on the copy. Producers send a batch until it is acknowledged, so at the end each span must have been counted
once, in counters and in minutes, and after each cut no fewer than were acknowledged; every database must be sound.
What was sent again, because the cut came between the log and the answer, counts once as well.

`--without-fsync` is the control: strace answers fsync and fdatasync without a disk being asked, and spans must be lost.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

if __package__ == "tests.chaos":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.delivery_kill import STAGES, Producers, in_minutes
from chaos.power_cut import make_image, mounted
from running import RunningAgent, running_agent, total

LIFE = (0.2, 2.0)
"""Seconds between two cuts."""
WITHOUT_FSYNC = (
    *("strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"),
    *("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"),
)


@dataclass
class Found:
    """What was seen in all cuts."""

    acknowledged: int = 0
    in_doubt: int = 0
    lost: int = 0
    lossy: int = 0
    counted: int = 0
    minutes: int = 0
    databases: int = 0
    damaged: int = 0
    slowest: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} spans acknowledged ({self.in_doubt} sent twice), {self.lost:,} lost in "
            f"{self.lossy} cuts; {self.counted:,} counted, {self.minutes:,} in minutes; "
            f"{self.databases - self.damaged} of {self.databases} databases sound; ready after at most "
            f"{self.slowest:.2f} s"
        )

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, and nothing counted twice."""
        is_whole = self.acknowledged == self.counted == self.minutes
        return is_whole and not self.lost and not self.damaged


class Machine:
    """A disk in *folder*, and the agent on it behind the command *prefix*, cut off again and again."""

    def __init__(self, folder: Path, producers: Producers, *prefix: str) -> None:
        """Raises NoLoopError."""
        self.found = Found()
        self._producers = producers
        self._prefix = prefix
        self._folder = folder
        self._image = folder / "disk.img"
        make_image(self._image)

    def live(self, seconds: float | None) -> None:
        """Start, compare, work for so long, and be cut off; with None for *seconds* all is sent first, and counted."""
        with mounted(self._image, self._folder / "disk") as disk:
            data = disk / "data"
            self._examine(data)
            settings = {"store.path": str(data)}
            with running_agent(settings, prefix=self._prefix, directory=self._folder) as agent:
                self._compare(agent)
                self._producers.agent = agent
                if seconds is None:
                    self._finish(agent)
                    return
                time.sleep(seconds)
                self._cut(agent)
        self._image.with_suffix(".crashed").rename(self._image)

    def _cut(self, agent: RunningAgent) -> None:
        os.kill(agent.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, agent.pid, os.WSTOPPED | os.WNOWAIT)
        subprocess.run(["cp", "--sparse=always", self._image, self._image.with_suffix(".crashed")], check=True)
        self._producers.agent = None
        agent.process.kill()
        agent.process.wait()

    def _examine(self, data: Path) -> None:
        """Whether the databases are whole, looked at as copies."""
        for path in sorted(data.glob("*.db")):
            with tempfile.TemporaryDirectory() as name:
                for part in data.glob(f"{path.name}*"):
                    shutil.copy(part, name)
                with closing(sqlite3.connect(Path(name, path.name))) as database:
                    verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
            self.found.databases += 1
            self.found.damaged += verdict != "ok"

    def _compare(self, agent: RunningAgent) -> None:
        lost = self._producers.acknowledged - int(total(agent.metrics(), STAGES))
        self.found.slowest = max(self.found.slowest, agent.started_in)
        self.found.lossy += lost > self.found.lost
        self.found.lost = max(lost, self.found.lost)

    def _finish(self, agent: RunningAgent) -> None:
        self._producers.stop()
        self.found.acknowledged, self.found.in_doubt = self._producers.acknowledged, self._producers.in_doubt
        self.found.counted = int(total(agent.metrics(), STAGES))
        self.found.minutes = in_minutes(agent)


def run(cuts: int, seed: int = 1, spans_per_second: float = 4_000.0, *, without_fsync: bool = False) -> Found:
    """Raises NoLoopError where no image can be mounted."""
    rng = random.Random(seed)
    producers = Producers(spans_per_second, seed)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), producers, *(WITHOUT_FSYNC if without_fsync else ()))
        producers.start()
        try:
            for _ in range(cuts):
                machine.live(rng.uniform(*LIFE))
            machine.live(None)
        finally:
            producers.stop()
    return machine.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuts", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--spans-per-second", type=float, default=4_000.0)
    parser.add_argument("--without-fsync", action="store_true", help="the control")
    arguments = parser.parse_args()
    without = arguments.without_fsync
    found = run(arguments.cuts, arguments.seed, arguments.spans_per_second, without_fsync=without)
    print(f"{arguments.cuts} power cuts, fsync {'off' if without else 'on'}: {found}")
    return int(not found.lost if without else not found.is_well)


if __name__ == "__main__":
    sys.exit(main())
