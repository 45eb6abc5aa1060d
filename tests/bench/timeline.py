"""How long `otel-latency timeline`, `sessions` and `compare` take on event logs of a million events.

Commands run as users run them, with their output going to a file. The log holds the published example of a voice
request again and again, by 14 events a request; `compare` reads two such logs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import Figure, run
from voice_log import EXAMPLE, START, lines

EVENTS = 1_000_000
COMMANDS = {
    "timeline": ["timeline", "log.jsonl"],
    "timeline --tail 5": ["timeline", "log.jsonl", "--tail", "5"],
    "timeline --json": ["timeline", "log.jsonl", "--json"],
    "sessions": ["sessions", "log.jsonl"],
    "compare, of half as many events a side": ["compare", "half.jsonl", "half.jsonl"],
}
BAR = 15.0


def write(path: Path, events: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(events // len(EXAMPLE) + 1):
            request = lines(request_id=f"r{number:07}", start=START + 10 * number, session_id=f"s{number // 20}")
            file.writelines(f"{line}\n" for line in request)


def taken(folder: Path, command: list[str]) -> tuple[float, float, int]:
    """Seconds, MiB of memory at most, and lines told on stderr."""
    began = time.perf_counter()
    with (folder / "out").open("wb") as out, (folder / "err").open("w+b") as err:
        process = subprocess.Popen([sys.executable, "-m", "otel_latency", *command], stdout=out, stderr=err, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command} failed")
        err.seek(0)
        told = len(err.read().splitlines())
    return time.perf_counter() - began, usage.ru_maxrss / 1024, told


def measure(_options: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "log.jsonl", EVENTS)
        write(folder / "half.jsonl", EVENTS // 2)
        for what, command in COMMANDS.items():
            seconds, memory, told = taken(folder, command)
            yield Figure(what, seconds, "s", BAR, f"{memory:.0f} MiB, {told} lines of progress")


if __name__ == "__main__":
    run(measure, __doc__)
