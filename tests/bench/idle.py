"""What an idle agent costs, and how soon it is there.

Memory is VmRSS and CPU is user and system time of the process, with its 250 ms ticks, its collectors and nobody who
sends or scrapes. The start is from fork to the first 200 of /health/ready, which comes after the receivers listen.

With --imports the memory is broken down to packages: what an idle agent has imported is imported again in a process of
its own, one module after another, those that others need first. The rest is the interpreter and what runs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median

from bench.report import Figure, run
from running import running_agent

VARIANTS = {
    "both receivers": ({}, 64.0),
    "HTTP only": ({"otlp.grpc.enabled": "false"}, 52.0),
}

WEIGH = """
import importlib, os, sys
from contextlib import suppress

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

for name in sys.stdin.read().split():
    package = name.rpartition(".")[0]
    if name not in sys.modules and (not package or package in sys.modules):  # else it comes with its package
        before = resident()
        with suppress(ImportError):  # tried by somebody who does without
            importlib.import_module(name)
        print(name, resident() - before)
"""


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    for name, (settings, bar) in VARIANTS.items():
        starts = []
        for _ in range(arguments.starts - 1):
            with running_agent(settings) as agent:
                starts.append(agent.started_in)
        with running_agent(settings) as agent:
            starts.append(agent.started_in)
            time.sleep(1.0)  # what starting costs is not idling
            before, begun = agent.cpu_seconds(), time.monotonic()
            time.sleep(arguments.seconds)
            cpu = (agent.cpu_seconds() - before) / (time.monotonic() - begun)
            memory = agent.memory()
        yield Figure(f"memory, {name}", memory, "MiB", bar)
        yield Figure(f"CPU of a core, {name}", 100 * cpu, "%", 1.5)
        yield Figure(f"start to first 200, {name}", median(starts), "s", 0.6, f"of {len(starts)} starts")
    if arguments.imports:
        for package, size_bytes in weigh(imported()).most_common(arguments.imports):
            yield Figure(f"import of {package}", size_bytes / 2**20, "MiB")


def imported() -> list[str]:
    """What an idle agent has imported, in the order in which the imports ended."""
    with running_agent(prefix=["env", "PYTHONPROFILEIMPORTTIME=1"]) as agent:
        time.sleep(1.0)  # the first ticks import, too
        return re.findall(r"^import time:.*\| +(\S+)$", agent.log(), re.MULTILINE)


def weigh(modules: Iterable[str]) -> Counter[str]:
    """Bytes by package, of ours by the package in ours; shared libraries count for whoever loads them first."""
    found = subprocess.run(
        [sys.executable, "-c", WEIGH], input=" ".join(modules), capture_output=True, text=True, check=True
    )
    sizes: Counter[str] = Counter()
    for line in found.stdout.splitlines():
        name, size_bytes = line.split()
        package = ".".join(name.split(".")[: 2 if name.startswith("otel_latency") else 1])
        sizes[package] += int(size_bytes)
    return sizes


if __name__ == "__main__":
    options = {
        "seconds": (20.0, "how long to idle"),
        "starts": (5, "starts to take the median of"),
        "imports": (0, "so many of the largest packages to show"),
    }
    run(measure, __doc__, options)
