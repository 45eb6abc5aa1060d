"""The agent: the only module that knows two steps at once. It builds every part, connects them, and runs until told.

    receivers --> intake --> delivery
                     +-----> insight, received metrics, running operations --+
    collectors ------------> samples ---------------------------------------+--> /metrics, /status, /health*, /api/v1
                                                                             +--> rules --> notifiers

Whatever is opened pushes its closing on one stack, so stopping is the reverse of starting: first no new telemetry is
taken, then what came in is counted, then nobody is answered any more. It takes 5 s at most; a second signal ends the
process at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

from otel_latency.agent_alerting import Alerting
from otel_latency.agent_answers import Answers
from otel_latency.agent_delivery import Delivery, without_content
from otel_latency.agent_insight import Insight
from otel_latency.agent_live import LiveFeed
from otel_latency.agent_metrics import AgentMetrics
from otel_latency.aggregate.aggregator import Aggregator, joined
from otel_latency.aggregate.operations import Operations
from otel_latency.aggregate.overview import WINDOW
from otel_latency.aggregate.received import ReceivedMetrics
from otel_latency.aggregate.samples import SampleTable
from otel_latency.aggregate.targets import LatencyTargets
from otel_latency.clock import Clock, SystemClock
from otel_latency.collect.build import build as build_collectors
from otel_latency.collect.limits import judge
from otel_latency.collect.resolver import Resolver
from otel_latency.config.sections import Config
from otel_latency.ingest.admission import Admission
from otel_latency.ingest.grpc import GRPCReceiver
from otel_latency.ingest.http import HTTPReceiver
from otel_latency.ingest.intake import Intake, Signal
from otel_latency.listening import cannot_listen
from otel_latency.records import Family, MetricPoint, SpanRow
from otel_latency.web.api import API
from otel_latency.web.app import WebServer, index
from otel_latency.web.exposition import legal
from otel_latency.web.health import Health, Phase
from otel_latency.web.links import graph
from otel_latency.web.live_page import live_page
from otel_latency.web.metrics import MetricsPage
from otel_latency.web.prometheus import PrometheusAPI
from otel_latency.web.registry import families as registry_families
from otel_latency.web.status import Status
from otel_latency.web.stream import Stream

TICK: Final = 0.25
EXPIRY: Final = 60.0
OVERVIEW_EVERY: Final = 5.0
PART: Final = 50
"""Label sets that are made into series in one go, which takes 3 ms."""
YOUNG_OBJECTS: Final = 20_000
"""Made before the collector looks at them: turns are made of thousands of objects, none of them garbage in cycles."""
BODY_BYTES: Final = 4 << 20
"""Allocations below this are served from the heap."""

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Either transport."""

    host: str
    port: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Agent:
    """Everything that runs, connected. `run` starts it, and returns after `stop` was called."""

    def __init__(self, config: Config, clock: Clock | None = None, directory: Path = Path()) -> None:
        """Relative paths begin at *directory*. Raises ConfigError when a collector of the user cannot be loaded, a
        rule file is wrong, or a secret cannot be read.
        """
        self._clock = clock or SystemClock()
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()
        self.ticks = 0
        self._expired = 0.0
        self._faults: dict[str, str] = {}  # part -> what is wrong with it, for /health

        limits = config.aggregate
        self.aggregator = Aggregator(max_series=limits.max_series, expire_after=limits.expire_after)
        self.received = ReceivedMetrics(limits.max_series, limits.expire_after)
        self.operations = Operations()
        self.samples = SampleTable(max_series=limits.max_series)
        self.targets = LatencyTargets(config.targets)
        self.collectors = build_collectors(config.collect, self._clock, self.samples.put)
        self.insight = Insight(
            config,
            clock=self._clock,
            directory=directory,
            aggregator=self.aggregator,
            operations=self.operations,
            samples=self.samples,
            written=lambda position: self.delivery.written(position),  # noqa: PLW0108 - it is made below
        )
        self.delivery = Delivery(
            config,
            directory / config.store.path,
            clock=self._clock,
            reached=self.insight.history.reach,
            resolver=Resolver(self._clock.monotonic),
        )

        self.intake = Intake(
            spans=self._take_spans,
            points=self._take_points,
            operations=self.operations.add,
            keep=self.delivery.keep if self.delivery.is_needed else None,
        )
        self.receivers = self._build_receivers(config)
        self.own = self._build_own()
        self.health = Health(
            clock=self._clock,
            alive=self.collectors.lag.alive,
            checks=self.collectors.checks.results,
            required=[check.name for check in config.collect.checks if check.required],
            faults=lambda: [*self._faults.values(), *filter(None, [self.alerting.rules.stalled()])],
        )
        self.page = MetricsPage(families=self.families, version=self._page_version, registry=self.own.registry)
        self.alerting = Alerting(
            config,
            clock=self._clock,
            directory=directory,
            snapshot=self._snapshot,
            legal=lambda families: legal(families).families,
            critical_path=self.insight.critical_path,
            record=self.insight.history.tell,
            resolver=Resolver(self._clock.monotonic),
        )
        self.web = self._build_web(config)

    async def run(self) -> None:
        """Start every part, then keep time until `stop` is called. Raises ConfigError when a port is taken."""
        async with AsyncExitStack() as stack:
            stack.callback(self.page.close)
            stack.callback(self.collectors.close)
            await stack.enter_async_context(self._beside(self.collectors.run(), "collect"))
            await self.web.start()
            stack.push_async_callback(self.web.stop)
            stack.callback(self.stream.close)
            await self.delivery.start(await self.insight.start(), self.intake.recall, self._remember)
            stack.push_async_callback(self.delivery.close)
            stack.push_async_callback(self.insight.close)
            await stack.enter_async_context(self._beside(self.delivery.run(), "delivery"))
            await stack.enter_async_context(self._beside(self._keep_time(), "ticks"))
            await stack.enter_async_context(self._beside(self._keep_overview(), "overview"))
            stack.push_async_callback(self.alerting.close)
            if self.alerting.is_used:
                await stack.enter_async_context(self._beside(self.alerting.run(), "alerting"))
            await self._start_receivers(stack)
            self.health.phase = Phase.RUNNING
            self.started.set()
            gc.freeze()  # what is here now stays for good, and need not be looked at again and again
            gc.set_threshold(YOUNG_OBJECTS)
            await self._stopping.wait()
            self.health.phase = Phase.STOPPING

    def stop(self) -> None:
        """End `run`; from a signal handler, say."""
        self._stopping.set()

    async def reload(self) -> None:
        """Read the rule files again, as SIGHUP asks."""
        await self.alerting.rules.reload()

    async def families(self) -> list[Family]:
        """Every metric family but the agent's own; those received over OTLP come last, so ours keep their names."""
        return [*self.alerting.rules.families, *await self._measured()]

    async def _snapshot(self) -> list[Family]:
        """What rules see: all but the alerts, which they make."""
        measured = await self._measured()  # before the registry, whose figures tell of them
        return [*registry_families(self.own.registry), *measured]

    async def _measured(self) -> list[Family]:
        """What came in; ticks and probes get in between, for two thousand label sets take a tenth of a second."""
        parts = []
        for part in self.aggregator.parts(self._clock.time(), PART):
            parts.append(part)
            await asyncio.sleep(0)
        now = self._clock.time()
        counted = [*joined(parts), *self.insight.families(now)]
        self.insight.count(counted)
        return [
            *counted,
            *self.operations.families(now),
            *self.samples.families(now),
            *self.targets.families(now),
            *self.received.families(now),
        ]

    async def _keep_time(self) -> None:
        """Count what came in, at every tick; one that fails must not be the last."""
        self._expired = self._clock.monotonic()
        async for tick in self._clock.ticks(TICK):
            self.ticks += 1
            self.own.ticked(tick.lateness)
            try:
                self._tick(tick.now)
            except Exception as error:
                self._faults["ticks"] = f"the last tick failed with {type(error).__name__}"
                log.exception("a tick failed, next try in %g s", TICK)
            else:
                self._faults.pop("ticks", None)

    def _tick(self, now: float) -> None:
        self.aggregator.fold(now)
        if self.delivery.is_pressed:
            self.insight.history.hurry()
        self.insight.tick(now)
        if self._clock.monotonic() - self._expired >= EXPIRY:
            self._expired = self._clock.monotonic()
            self.aggregator.expire(now)
            self.received.expire(now)

    async def _keep_overview(self) -> None:
        """Remember counters, and each minute its percentiles, so that the last minute can be told of at any time."""
        minute = 0
        async for tick in self._clock.ticks(OVERVIEW_EVERY):
            is_new, minute = minute != tick.now // 60, int(tick.now // 60)
            self.insight.overview.tick(tick.now, await self._last_minute() if is_new else self.aggregator.counts())

    async def _last_minute(self) -> list[Family]:
        """What an overview is made of; like `_measured`, and several times cheaper."""
        parts = []
        for part in self.aggregator.recent(WINDOW, PART):
            parts.append(part)
            await asyncio.sleep(0)
        now = self._clock.time()
        return [
            *self.aggregator.counts(),
            *joined(parts),
            *self.insight.families(now),
            *self.samples.families(now),
            *self.received.families(now),
        ]

    @asynccontextmanager
    async def _beside(self, work: Coroutine[None, None, None], name: str) -> AsyncIterator[None]:
        """Run *work* beside the block, and cancel it at the end. Should it end before, /health tells."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                self._faults[name] = f"{name} has ended"
                log.error("%s ended: the agent goes on without it", name, exc_info=task.exception())

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _start_receivers(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self._stop_receivers)
        for name, receiver in self.receivers.items():
            try:
                await receiver.start()
            except OSError as error:
                raise cannot_listen(f"otlp.{name}", receiver.host, receiver.port, error) from error

    async def _stop_receivers(self) -> None:
        await asyncio.gather(*(receiver.stop() for receiver in self.receivers.values()))

    def _take_spans(self, rows: list[SpanRow]) -> None:
        if not self.operations.is_idle:
            for _, trace_id, span_id, _, _, _, _ in rows:
                self.operations.end(trace_id, span_id)
        self.insight.take(rows)

    def _remember(self, body: bytes, *, is_json: bool) -> None:
        self.insight.remember(self.intake.rows(body, is_json=is_json))

    def _take_points(self, points: list[MetricPoint]) -> None:
        self.received.add(without_content(points), self._clock.time())

    def _page_version(self) -> int:
        return self.ticks + self.intake.requests

    def _build_receivers(self, config: Config) -> Mapping[str, Receiver]:
        otlp = config.otlp
        admission = Admission(otlp.max_in_flight)
        receivers: dict[str, Receiver] = {}
        if otlp.http.enabled:
            receivers["http"] = HTTPReceiver(
                self.intake.accept,
                admission=admission,
                host=otlp.http.host,
                port=otlp.http.port,
                max_body=otlp.max_body,
                clock=self._clock,
            )
        if otlp.grpc.enabled:
            receivers["grpc"] = GRPCReceiver(
                self.intake.accept,
                admission=admission,
                host=otlp.grpc.host,
                port=otlp.grpc.port,
                max_message=otlp.grpc.max_message,
                clock=self._clock,
            )
        return receivers

    def _build_own(self) -> AgentMetrics:
        return AgentMetrics(
            version=version("otel-latency"),
            series=lambda: self.aggregator.series + self.received.series,
            totals={
                "received_spans": self._received(Signal.TRACES),
                "received_metric_points": self._received(Signal.METRICS),
                "received_log_records": self._received(Signal.LOGS),
                "rejected_spans": self._rejected(Signal.TRACES),
                "rejected_metric_points": self._rejected(Signal.METRICS),
                "rejected_log_records": self._rejected(Signal.LOGS),
                "dropped_spans": lambda: self.aggregator.dropped,
                "dropped_metric_points": lambda: self.received.dropped,
                "dropped_operations": lambda: self.operations.dropped,
                "adjusted_spans": lambda: self.aggregator.adjusted,
                "unassembled_spans": self.insight.unassembled,
                "acked_nondurable_spans": lambda: {(): self.delivery.log.acked_nondurable_spans},
                "forwarded_spans": self.delivery.forwarded,
                "forward_dropped_items": self.delivery.lost,
                "forward_dropped_spans": self.delivery.lost_spans,
                "forward_recovered_spans": self.delivery.left,
                "recovered_items": lambda: {signal.value: n for signal, n in self.delivery.recovered.items()},
                "unlearnt_operations": self.insight.unlearnt,
                "unpriced_calls": self.insight.unpriced,
                "history_dropped": lambda: self.insight.history.dropped,
                "overflowed_series": lambda: self.aggregator.overflowed + self.received.overflowed,
                "notifications": self._notifications,
                "rule_missed_evaluations": lambda: self.alerting.rules.missed,
            },
            gauges={
                "rules": lambda: self._rules_figure("rules"),
                "rules_failing": lambda: self._rules_figure("failing"),
                "rules_reload_successful": lambda: not self.alerting.rules.reload_fault,
                "queued_notifications": lambda: sum(self.alerting.pipeline.queued().values()),
                "turn_sampling_ratio": lambda: self.insight.sampling.share,
                "history_bytes": lambda: self.insight.history.size_bytes,
                "forward_queue_bytes": lambda: self.delivery.log.size_bytes,
            },
            labelled_gauges={"queued_spans": self.delivery.queued},
        )

    def _notifications(self) -> Mapping[tuple[str, str], float]:
        return self.alerting.pipeline.totals()

    def _rules_figure(self, name: str) -> float:
        figure = self.alerting.rules.figures.get(name, 0)
        return len(figure) if isinstance(figure, list) else figure

    def _received(self, signal: Signal) -> Callable[[], dict[str, float]]:
        return lambda: {of: count for (found, of), count in self.intake.received.items() if found is signal}

    def _rejected(self, signal: Signal) -> Callable[[], dict[str, float]]:
        return lambda: {why: count for (found, why), count in self.intake.rejected.items() if found is signal}

    def _build_web(self, config: Config) -> WebServer:
        status = Status(
            version=version("otel-latency"),
            health=self.health,
            request_count=lambda: self.intake.requests,
            metrics=self.own.figures,
            sections={
                "receivers": self._receivers_status,
                "series": self._series_status,
                "operations": lambda: {"running": len(self.operations.running(self._clock.time()))},
                "turns": self.insight.turns_status,
                "history": self.insight.history.status,
                "log": self.delivery.log_status,
                "forward": self.delivery.forward_status,
                "collectors": lambda: [asdict(one) for one in self.collectors.runner.status()],
                "checks": lambda: [asdict(one) for one in self.collectors.checks.results()],
                "machine": self._machine_status,
                "rules": self.alerting.rules_status,
                "notify": self.alerting.pipeline.status,
            },
        )
        answers = Answers(
            self.insight,
            clock=self._clock,
            operations=self.operations,
            families=self._last_minute,
            checks=self.collectors.checks.results,
            alerts=self.alerting.rules.alerts,
        )
        self.stream = Stream(self._build_feed(answers), self._clock)
        routes = [
            *self.health.routes(),
            self.page.route(),
            status.route(),
            *PrometheusAPI(self.alerting.rules).routes(),
            *API(answers, self._clock).routes(),
            self.stream.route(),
            graph(),
        ]
        pages = live_page(otherwise=index(route.path for route in routes))
        return WebServer(
            config.web.host, config.web.port, routes=[*pages, *routes], allowed_hosts=config.web.allowed_hosts
        )

    def _build_feed(self, answers: Answers) -> LiveFeed:
        return LiveFeed(
            self.insight,
            clock=self._clock,
            aggregator=self.aggregator,
            operations=self.operations,
            samples=self.samples,
            overview=answers.overview,
            alerts=self.alerting.rules.alerts,
            providers=answers.providers,
            judgements=self._machine_status,
        )

    def _receivers_status(self) -> dict[str, object]:
        return {name: {"host": one.host, "port": one.port} for name, one in self.receivers.items()}

    def _series_status(self) -> dict[str, object]:
        self.aggregator.fold(self._clock.time())
        return {"spans": self.aggregator.series, "received_metrics": self.received.series}

    def _machine_status(self) -> list[dict[str, object]]:
        families = self.samples.families(self._clock.time())
        return [asdict(one) for one in judge(families, cpus=os.cpu_count() or 1)]


def run(config: Config, directory: Path = Path()) -> int:
    """Run the agent until SIGTERM or SIGINT, and read its rule files again on SIGHUP. Returns the exit code.

    Relative paths in *config* begin at *directory*. Raises ConfigError when it cannot start.
    """
    _tune_allocator()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    asyncio.run(_run(config, directory))
    return 0


def _tune_allocator() -> None:
    """Keep request bodies in the heap, and to one heap.

    By default glibc maps a body of 300 kB anew for each request and gives it back after, which costs more than
    decoding it; and it keeps a heap per thread, of which we would only see the waste.
    """
    m_trim_threshold, m_mmap_threshold, m_arena_max = -1, -3, -8  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(m_mmap_threshold, BODY_BYTES)
        mallopt(m_trim_threshold, BODY_BYTES)
        mallopt(m_arena_max, 1)


async def _run(config: Config, directory: Path) -> None:
    agent = Agent(config, directory=directory)
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, _reload, agent, loop, reloads)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, agent, loop)
    announcement = asyncio.create_task(_announce(agent))
    try:
        await agent.run()
    finally:
        announcement.cancel()
    log.info("stopped; %d items were taken in", agent.intake.received.total())


def _reload(agent: Agent, loop: asyncio.AbstractEventLoop, reloads: set[asyncio.Task[None]]) -> None:
    task = loop.create_task(agent.reload())
    reloads.add(task)  # the loop alone would not keep it alive
    task.add_done_callback(reloads.discard)


def _stop(agent: Agent, loop: asyncio.AbstractEventLoop) -> None:
    agent.stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, _exit_now)


def _exit_now(_number: int, _frame: object) -> None:
    os._exit(0)


async def _announce(agent: Agent) -> None:
    await agent.started.wait()
    for name, receiver in agent.receivers.items():
        log.info("OTLP over %s: %s:%d", name.upper().replace("GRPC", "gRPC"), receiver.host, receiver.port)
    log.info("metrics: %s/metrics, status: %s/status", agent.web.url, agent.web.url)
