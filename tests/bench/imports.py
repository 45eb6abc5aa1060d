"""What importing the library costs, against importing opentelemetry-sdk with its OTLP/HTTP exporter.

Each import happens in a fresh interpreter, all of them in turns; a figure is the process's CPU time for the statement,
least of all rounds: what disturbs only adds to it. Names are imported when they are first used; what that costs is
shown for the commonest and for all of them. A quarter of the latter is asyncio, which the reference does without.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from bench.report import Figure, in_turns, run

REFERENCE = """
import opentelemetry.sdk.trace, opentelemetry.sdk.trace.export
import opentelemetry.exporter.otlp.proto.http.trace_exporter
"""
OURS = "import otel_latency"
STAGE = "import otel_latency\notel_latency.stage"
EVERY_NAME = "import otel_latency\nfor name in otel_latency.__all__: getattr(otel_latency, name)"
TIMED = """
import sys, time
start = time.process_time()
exec(sys.argv[1])
print(time.process_time() - start)
"""


def importing(program: str) -> float:
    """CPU milliseconds of *program* in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", TIMED, program], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    programs = {
        "reference": REFERENCE,
        "import otel_latency": OURS,
        "and its stage": STAGE,
        "and every name": EVERY_NAME,
    }
    costs = in_turns({what: lambda each=each: importing(each) for what, each in programs.items()}, arguments.rounds)
    reference = min(costs.pop("reference"))
    yield Figure("opentelemetry-sdk with its OTLP/HTTP exporter", reference, "ms")
    for what, taken in costs.items():
        detail = f"{min(taken):.1f} ms, median {median(taken):.1f} ms"
        bar = 0.5 if programs[what] is OURS else None
        yield Figure(f"{what} / the reference", min(taken) / reference, bar=bar, detail=detail)


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (10, "fresh interpreters of each")})
