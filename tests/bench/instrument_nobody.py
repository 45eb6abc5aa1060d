"""What an agent that is absent, silent, broken or another program does to the user's process, against raw SDK spans.

python -m tests.bench instrument_nobody
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from bench.report import Figure, run
from instrument.otlp_receiver import absent, black_hole, failing, garbage

PLACES = {"absent": absent, "black hole": black_hole, "500": failing, "garbage": garbage}
PROGRAM = """
import gc, json, logging, resource, sys, time
logging.basicConfig(level=1)
import otel_latency as latency
latency.configure(service="bench", endpoint=sys.argv[1])
from otel_latency.instrument.runtime import runtime
def ours():
    with latency.stage("step"):
        pass
def raw():
    with runtime.tracer.start_as_current_span("step"):
        pass
def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def slow(work, count):
    clock, over, before = time.perf_counter_ns, 0, 0
    for _ in range(count):
        before = clock()
        work()
        over += clock() - before > 1_000_000
    return over / count
slow(ours, 3000)
before = memory()
found = {"ours": 0.0, "raw": 0.0}
for _ in range(10):
    found["raw"] += slow(raw, int(sys.argv[2]) // 10) / 10
    found["ours"] += slow(ours, int(sys.argv[2]) // 10) / 10
print(json.dumps(found | {"grown": memory() - before, "time": time.time()}), flush=True)
"""


def measure(arguments):
    for name, place in PLACES.items():
        with place() as endpoint:
            process = subprocess.run(
                [sys.executable, "-c", PROGRAM, endpoint, str(int(arguments.stages))], capture_output=True, text=True
            )
        found = json.loads(process.stdout)
        late = time.time() - found["time"]
        minutes = 1 + int(arguments.stages) // 1_000_000
        yield Figure(f"{name}: exit code", process.returncode, bar=0)
        yield Figure(f"{name}: exit later than its last line", late, "s", bar=1.0)
        yield Figure(f"{name}: memory grown", found["grown"], "MiB", bar=10)
        yield Figure(f"{name}: log lines", len(process.stderr.splitlines()), bar=minutes + 1)
        detail = f"{found['ours']:.2e} of stages, {found['raw']:.2e} of SDK spans"
        ratio = found["ours"] / found["raw"] if found["raw"] else float(found["ours"] > 0)
        yield Figure(f"{name}: over 1 ms, against raw SDK spans", ratio, detail=detail)


if __name__ == "__main__":
    run(measure, __doc__, {"stages": (1_000_000, "stages, and as many raw spans")})
