"""What 100 rules on 2,000 series cost the agent, and what they do to its ticks.

A hundred rules, evaluated and sampled every second: 20 quantiles of histograms over 5 minutes, each over the 450
buckets of a service; 20 error ratios over 5 minutes; 20 averages over time; 40 plain thresholds with a guard against
no traffic. Every stage has new spans in every second.

CPU and memory are those of this process over seconds that pass at once: the snapshot, the sample, the evaluation, and
the columns of 5 minutes. They are compared with a process that does the same without rules. Ticks are those of an
agent in real time, with the rules and without them in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.report import Figure, run
from bench.ticks import NotingClock
from running import ANY_PORT, environment, pin

from otel_latency.agent import Agent
from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.clock import SystemClock
from otel_latency.config.load import load as load_config
from otel_latency.config.sections import Rules
from otel_latency.records import Alert, Family, Profile, SpanRow
from otel_latency.rules.runner import Runner, Seams
from otel_latency.sketch import nearest_rank
from otel_latency.testing import FakeClock
from otel_latency.web.exposition import legal

STAGES = 90
SERVICES = 3
NOW = 1_700_000_000.0
WINDOW = 300
KINDS = (
    (
        20,
        (
            "histogram_quantile(0.99, sum by (le, stage) ("
            'rate(otel_latency_stage_duration_seconds_bucket{{service="service {service}"}}[5m]))) > {number}'
        ),
    ),
    (
        20,
        (
            'sum by (stage) (rate(otel_latency_stages_total{{status="error"}}[5m]))'
            " / sum by (stage) (rate(otel_latency_stages_total[5m])) > 0.9{number}"
        ),
    ),
    (20, "avg_over_time(otel_latency_stage_duration_seconds_count[1m]) > 1e9 + {number}"),
    (
        40,
        (
            'otel_latency_stage_window_seconds{{quantile="0.99",window="10s"}} > {number}'
            " and on (service, stage) rate(otel_latency_stage_duration_seconds_count[1m]) > 0"
        ),
    ),
)


def rule_file(folder: Path) -> str:
    lines = ["groups:", "  - name: bench", "    rules:"]
    for count, expression in KINDS:
        for number in range(count):
            lines += [
                f"      - alert: A{len(lines)}",
                f"        expr: {expression.format(number=number + 5, service=number % SERVICES)}",
            ]
    (folder / "bench.rules.yaml").write_text("\n".join(lines), encoding="utf-8")
    return "bench.rules.yaml"


def profiles_of_all() -> list[Profile]:
    return [
        Profile(f"service {number % SERVICES}", stage=f"stage {number}", status=status)
        for number in range(STAGES)
        for status in ("ok", "error")
    ]


def rows(profiles: list[Profile], now: float) -> list[SpanRow]:
    """A second's spans: two of every stage, of which some fail."""
    end_ns = int(now * 1e9)
    return [
        (profile, os.urandom(16), os.urandom(8), os.urandom(8), end_ns - 10_000_000 * (number % 97 + 1), end_ns, None)
        for number, profile in enumerate(profiles)
    ]


async def simulated(folder: Path, *, has_rules: bool, seconds: int) -> dict[str, float]:
    """CPU seconds per second that passed, with the columns full; series, and MiB of memory."""
    aggregator = Aggregator(max_series=2000, expire_after=900.0)
    profiles = profiles_of_all()
    now = NOW

    async def snapshot() -> list[Family]:
        return aggregator.families(now)

    async def tell(alerts: list[Alert]) -> None:
        raise AssertionError(f"{alerts[0]} was not expected to fire")

    runner = Runner(
        Rules(files=[rule_file(folder)] if has_rules else []),
        Seams(snapshot=snapshot, legal=lambda families: legal(families).families, tell=tell),
        clock=FakeClock(NOW),
        directory=folder,
        memory=None,
        target_labels={"job": "bench", "instance": "127.0.0.1:8080"},
        external_url="http://agent",
    )
    costs = []
    for second in range(1, WINDOW + seconds + 20):
        now = NOW + second
        aggregator.add(rows(profiles, now), now)
        aggregator.fold(now)
        before = time.process_time()
        await runner.step(round(now * 1000))
        costs.append(time.process_time() - before)
    memory = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    answer = {"cpu": median(costs[-seconds:]), "memory": int(memory.split()[1]) / 1024, **numbers(runner)}
    runner.close()
    return answer


def numbers(runner: Runner) -> dict[str, float]:
    found = runner.figures
    return {"rules": found.get("rules", 0), "series": found.get("series", 0), "failing": len(found.get("failing", ()))}


def in_a_process(*, has_rules: bool, seconds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.rules", "--alone", str(int(has_rules)), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


async def ticking(folder: Path, seconds: float, *, has_rules: bool) -> list[float]:
    """The lateness of every tick of an agent with the rules, or without, sorted."""
    profiles = profiles_of_all()
    clock = NotingClock()
    files = rule_file(folder) if has_rules else ""
    (folder / "otel-latency.yaml").write_text(f"rules: {{files: [{files}]}}", encoding="utf-8")
    names = {**ANY_PORT, "store.path": str(folder / "data")}
    agent = Agent(load_config(str(folder / "otel-latency.yaml"), environment(names)), clock, folder)
    running = asyncio.create_task(agent.run())
    await agent.started.wait()
    clock.noted.clear()
    until = time.monotonic() + seconds
    async for _ in SystemClock().ticks(1.0):
        agent.aggregator.add(rows(profiles, time.time()), time.time())
        if time.monotonic() > until:
            break
    assert numbers(agent.alerting.rules)["failing"] == 0
    agent.stop()
    await running
    return sorted(tick.lateness for tick in clock.noted)


def in_real_time(seconds: float, *, has_rules: bool) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(ticking(Path(folder), seconds, has_rules=has_rules))


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    if arguments.alone >= 0:
        with tempfile.TemporaryDirectory() as folder:
            has_rules = bool(arguments.alone)
            print(json.dumps(asyncio.run(simulated(Path(folder), has_rules=has_rules, seconds=arguments.seconds))))
        sys.exit()
    pin(os.getpid(), 0)
    without, with_rules = (in_a_process(has_rules=has_rules, seconds=arguments.seconds) for has_rules in (False, True))
    detail = f"{with_rules['rules']:.0f} rules, {with_rules['series']:.0f} series"
    assert with_rules["failing"] == 0
    yield Figure("CPU of a core", 100 * (with_rules["cpu"] - without["cpu"]), "%", 10.0, detail)
    yield Figure("memory beyond the agent", with_rules["memory"] - without["memory"], "MiB", 40.0)
    lateness: dict[bool, list[float]] = {False: [], True: []}
    for has_rules in (False, True, True, False):
        lateness[has_rules] += in_real_time(arguments.real / 2, has_rules=has_rules)
    bare, ours = (sorted(lateness[has_rules]) for has_rules in (False, True))
    place = nearest_rank(0.99, min(len(bare), len(ours))) - 1
    detail = f"with rules p99 {1000 * ours[place]:.1f}, worst {1000 * ours[-1]:.1f} ms of {len(ours)} ticks"
    yield Figure("lateness that rules add to ticks, p99", 1000 * (ours[place] - bare[place]), "ms", 25.0, detail)


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        {
            "seconds": (60, "how many simulated seconds to take the median of"),
            "real": (40.0, "how many real seconds to watch the ticks, with the rules and without"),
            "alone": (-1, "measure in this process, without rules (0) or with (1)"),
        },
    )
