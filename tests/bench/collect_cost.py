"""What a poll of each collector costs, as microseconds and as a ratio to one `psutil.cpu_percent()` of the same run.

python -m tests.bench collect_cost
"""

from __future__ import annotations

import asyncio
import time

import psutil

from otel_latency.aggregate.samples import SampleTable
from otel_latency.clock import SystemClock
from otel_latency.collect.container import ContainerCollector
from otel_latency.collect.host import HostCollector
from otel_latency.collect.lag import LoopLag
from otel_latency.collect.process import ProcessCollector
from otel_latency.collect.threads import DaemonThreads
from otel_latency.collect.validation import validate
from otel_latency.records import Sample

ROUNDS = 5
CALLS = 200
LAG_SECONDS = 5.0


def microseconds(function):
    """The best of several rounds: what others on the machine do only ever adds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            function()
        best = min(best, (time.perf_counter() - start) / CALLS)
    return best * 1e6


def polls(clock):
    """Name to function, each one poll with its samples taken."""
    collectors = {
        "host": HostCollector(clock.monotonic),
        "container": ContainerCollector(clock.monotonic),
        "process (the agent)": ProcessCollector([], clock.monotonic),
        "loop lag": LoopLag(clock),
    }
    return {name: lambda each=each: list(each.collect()) for name, each in collectors.items()}


def steps():
    """What happens to twenty samples after the poll."""
    samples = [Sample("otel_latency_x", 1.0, {"interface": f"eth{index}"}) for index in range(20)]
    table = SampleTable()
    yield "20 samples validated", lambda: validate(samples, limit=200, is_ours=True)
    yield "20 samples into the table", lambda: table.put("x", samples, time.time())
    yield "20 samples as families", lambda: table.families(time.time())


async def handover():
    """Microseconds for a job to a thread and back."""
    threads = DaemonThreads("bench", limit=1)
    start = time.perf_counter()
    for _ in range(CALLS):
        await threads.submit(int)
    threads.close()
    return (time.perf_counter() - start) / CALLS * 1e6


async def lag_share():
    """Share of a core that the heartbeat and its watchdog use."""
    lag = LoopLag(SystemClock())
    start = time.process_time()
    try:
        await asyncio.wait_for(lag.run(), LAG_SECONDS)
    except TimeoutError:
        return (time.process_time() - start) / LAG_SECONDS


def main():
    reference = microseconds(psutil.cpu_percent)
    print(f"{'psutil.cpu_percent()':<28}{reference:>9.1f} us    1.00")
    for name, function in [*polls(SystemClock()).items(), *steps()]:
        cost = microseconds(function)
        print(f"{name:<28}{cost:>9.1f} us {cost / reference:>7.2f}")
    cost = asyncio.run(handover())
    print(f"{'to a thread and back':<28}{cost:>9.1f} us {cost / reference:>7.2f}")
    print(f"{'heartbeat and watchdog':<28}{asyncio.run(lag_share()):>9.3%} of a core")


if __name__ == "__main__":
    main()
