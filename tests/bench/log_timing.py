"""What an event costs its caller, and whether many threads and processes can log into one file.

Lines are written to a real file, with the checks for rotation that every line makes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.report import Figure, run

from otel_latency.instrument.rotation import archives
from otel_latency.instrument.timing import TimingLog

EVENTS = 20_000
THREADS, PROCESSES, LINES = 8, 4, 25_000
WRITER = """
import sys, threading
import otel_latency.instrument.timing as timing
timing._Default.log = timing.TimingLog(sys.argv[1])
def write(thread):
    for number in range({lines}):
        timing.log_timing(f"{{sys.argv[2]}}-{{thread}}-{{number}}", "v34", "v34_ollama_sent", {{"temperature": 0.4}})
threads = [threading.Thread(target=write, args=(each,)) for each in range({threads})]
[each.start() for each in threads]
[each.join() for each in threads]
"""


def microseconds(path: Path) -> list[float]:
    """The time of each of `EVENTS` calls, sorted."""
    log = TimingLog(path)
    taken = []
    for _ in range(EVENTS):
        began = time.perf_counter_ns()
        log.log("abc123de", "v34", "v34_ollama_sent", {"temperature": 0.4})
        taken.append((time.perf_counter_ns() - began) / 1000)
    log.close()
    return sorted(taken)


def damaged(path: Path) -> int:
    """Lines that are missing, doubled or not whole, of those that all processes have written."""
    program = WRITER.format(lines=LINES, threads=THREADS)
    writers = [subprocess.Popen([sys.executable, "-c", program, path, str(each)]) for each in range(PROCESSES)]
    if any(writer.wait() for writer in writers):
        raise RuntimeError("a writer failed")
    expected = {f"{p}-{t}-{n}" for p in range(PROCESSES) for t in range(THREADS) for n in range(LINES)}
    broken = 0
    for file in (*archives(path), path):
        for line in file.read_bytes().splitlines():
            try:
                expected.remove(json.loads(line)["request_id"])
            except (ValueError, KeyError):
                broken += 1
    return broken + len(expected)


def measure(_options: argparse.Namespace) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        taken = microseconds(Path(folder) / "cost.jsonl")
        yield Figure("log_timing, median", median(taken), "us", 25.0, f"99 %: {taken[EVENTS * 99 // 100]:.1f} us")
        began = time.perf_counter()
        wrong = damaged(Path(folder) / "many.jsonl")
        total = THREADS * PROCESSES * LINES
        detail = f"{PROCESSES} processes x {THREADS} threads x {LINES}: {total / (time.perf_counter() - began):,.0f}/s"
        yield Figure("lines missing or damaged", wrong, "", 0.0, detail)


if __name__ == "__main__":
    run(measure, __doc__)
