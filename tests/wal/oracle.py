"""What a log must hold after its process, or the machine, has died: everything that was acknowledged, and no more."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wal.writer import IN_FLIGHT, ITEMS, body

from otel_latency.clock import SystemClock
from otel_latency.wal.log import Log


@dataclass
class Oracle:
    """Remembers what was acknowledged, in all runs."""

    acknowledged: dict[int, int] = field(default_factory=dict)
    """Position -> number of the body."""
    next_number: int = 0
    checked: int = 0
    """The position up to which an earlier `check` has committed."""

    def start(self, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        """A writer that has begun."""
        command = [sys.executable, "-m", "wal.writer", str(folder), str(self.next_number), *options]
        environment = {"PYTHONPATH": ":".join(sys.path)}
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert writer.stdout
        assert b"ready\n" == writer.stdout.readline()
        return writer

    def note(self, lines: Sequence[bytes]) -> None:
        """What a writer has said; no position twice."""
        for line in lines:
            position, number = map(int, line.split())
            assert position not in self.acknowledged, f"{position} was given twice"
            self.acknowledged[position] = number
        self.next_number = max(self.acknowledged.values(), default=0) + 2 * IN_FLIGHT

    async def check(self, folder: Path) -> Checked:
        """Open the log and compare; what was seen is committed, so that the log is empty again."""
        began = time.perf_counter()
        log = Log(folder, clock=SystemClock(), max_bytes=256 << 20)
        await log.open({"reader": None})
        seconds = time.perf_counter() - began
        reader = log.readers["reader"]
        found = {record.position: record.body async for record in reader.backlog()}
        expected = {position: number for position, number in self.acknowledged.items() if position > self.checked}
        lost = [position for position, number in expected.items() if found.get(position) != body(number)]
        invented = [position for position, one in found.items() if one != body(int(one.split()[1]))]
        fault = log.fault
        self.checked = log.end.number
        reader.commit(self.checked)
        await log.close()
        return Checked(len(expected), len(found), lost, invented, seconds, fault)


@dataclass(frozen=True)
class Checked:
    """How many records were acknowledged and how many found; which are lost, and which nobody wrote."""

    acknowledged: int
    found: int
    lost: list[int]
    invented: list[int]
    seconds: float
    fault: str

    @property
    def items(self) -> int:
        return ITEMS * self.acknowledged
