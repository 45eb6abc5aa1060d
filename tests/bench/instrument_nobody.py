"""What an agent that is absent, silent, broken or another program does to the user's process, against raw SDK spans.

Whatever else runs on the machine makes some calls late, ours and the SDK's alike. So the counts of calls over 1 ms of
all cases are added up: stages and raw spans take turns, as many of each, with the same processor behind both. What
comes from outside hits a call as often as the call is long; a late call is ours, then, with the probability that our
calls' share of the time is (calls over 1 ms left out). The figure is how surely more are ours than that: 100 % less
the chance of so many or more, by the binomial distribution. Above 99 %, something of ours makes calls late.
"""

from __future__ import annotations

import json
import math
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
    clock, over, quick = time.perf_counter_ns, 0, 0
    for _ in range(count):
        before = clock()
        work()
        taken = clock() - before
        if taken > 1_000_000:
            over += 1
        else:
            quick += taken
    return [over, quick]
slow(ours, 3000)
before = memory()
found = {"ours": [0, 0], "raw": [0, 0]}
turns = {"raw": raw, "ours": ours}
for number in range(100):
    for name in sorted(turns, reverse=number % 2):
        found[name] = [sum(each) for each in zip(found[name], slow(turns[name], int(sys.argv[2]) // 100))]
print(json.dumps(found | {"grown": memory() - before, "time": time.time()}), flush=True)
"""


def evidence(late: int, total: int, share: float) -> float:
    """Percent of confidence that of *total* late calls more than *share* are ours, *late* being so."""
    log_chances = (
        math.lgamma(total + 1)
        - math.lgamma(number + 1)
        - math.lgamma(total - number + 1)
        + number * math.log(share)
        + (total - number) * math.log1p(-share)
        for number in range(late, total + 1)
    )
    return 100 - 100 * sum(map(math.exp, log_chances))


def measure(arguments):
    counts = []
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
        counts.append(found["ours"] + found["raw"])
        yield Figure(f"{name}: stages over 1 ms", found["ours"][0], detail=f"{found['raw'][0]} raw SDK spans")
    late, time_ours, late_raw, time_raw = map(sum, zip(*counts, strict=True))
    share = time_ours / (time_ours + time_raw)
    detail = f"{late} stages, {late_raw} raw spans; a stage is {time_ours / time_raw:.2f} of a raw span"
    sure = evidence(late, late + late_raw, share)
    yield Figure("certainty that something of ours makes calls late", sure, "%", 99, detail)


if __name__ == "__main__":
    run(measure, __doc__, {"stages": (1_000_000, "stages, and as many raw spans")})
