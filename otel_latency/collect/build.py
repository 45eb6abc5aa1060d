"""The collectors that the section `collect` of the configuration asks for, ready to run.

collectors = build(config.collect, clock, table.put)
stack.callback(collectors.close)
tasks.create_task(collectors.run())
collectors.checks.results()        # for /health/ready: a required one that is down makes it 503
collectors.lag.alive()             # for /health/live
collectors.runner.status()         # for /status
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from otel_latency.clock import Clock
from otel_latency.collect.checks import Checks
from otel_latency.collect.container import ContainerCollector
from otel_latency.collect.gpu import find_gpus
from otel_latency.collect.host import HostCollector
from otel_latency.collect.lag import LoopLag
from otel_latency.collect.process import ProcessCollector
from otel_latency.collect.runner import CollectorRunner, Sink, Source
from otel_latency.collect.user import load
from otel_latency.config.sections import Collect, UserCollector

_INTERVAL: Final = 1.0
"""Of collectors without a setting of their own: MB1's cadence for the system."""


@dataclass(frozen=True, slots=True)
class Collectors:
    """What runs: the poller of everything, the checks, and the watch over the agent's own loop."""

    runner: CollectorRunner
    checks: Checks
    lag: LoopLag

    async def run(self) -> None:
        """Collect until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.lag.run(), name="collect:lag")
            tasks.create_task(self.checks.run(), name="collect:checks")
            tasks.create_task(self.runner.run(), name="collect:runner")

    def close(self) -> None:
        """Close every collector. Twice, or before `run`, is harmless."""
        self.runner.close()


def build(section: Collect, clock: Clock, sink: Sink) -> Collectors:
    """Nothing is started, opened or measured yet. Raises ConfigError when a collector of the user cannot be loaded."""
    checks = Checks(section.checks, clock)
    lag = LoopLag(clock)
    sources = [
        *_machine(section, clock),
        Source("loop", lag.collect, _INTERVAL, close=lag.close, is_ours=True),
        *_users(section),
    ]
    if section.checks:
        sources.append(Source("checks", checks.collect, _INTERVAL, close=checks.close, is_ours=True))
    return Collectors(CollectorRunner(sources, sink, clock), checks, lag)


def _machine(section: Collect, clock: Clock) -> Iterator[Source]:
    process = ProcessCollector(section.process.names, clock.monotonic)
    yield Source("process", process.collect, section.process.interval, close=process.close, is_ours=True)
    if section.host.enabled:
        host, container = HostCollector(clock.monotonic), ContainerCollector(clock.monotonic)
        yield Source("host", host.collect, section.host.interval, close=host.close, is_ours=True)
        yield Source("container", container.collect, section.host.interval, close=container.close, is_ours=True)
    if (gpu := find_gpus(section.gpu)) is not None:
        yield Source("gpu", gpu.collect, _INTERVAL, close=gpu.close, is_ours=True)


def _users(section: Collect) -> Iterator[Source]:
    for entry in section.collectors:
        each = entry if isinstance(entry, UserCollector) else UserCollector(target=entry)
        yield Source(each.target, load(each.target), each.interval, each.timeout)
