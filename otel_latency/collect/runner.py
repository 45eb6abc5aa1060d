"""Polls every collector at its own cadence and hands what it measured to a sink.

Collectors run on daemon threads of their own (async ones on the loop), so that one that fails, hangs or is slow costs
its own samples and nobody else's. A poll over its timeout is a failure and its late result is dropped; while it still
hangs, its turns are skipped and counted. A sample that could not be exported (not finite, an illegal name) is dropped
alone. Failures are counted, shown by `status` and logged at most once a minute per collector.

Memory: one thread per collector that ever ran at the same time as another; `MAX_SAMPLES` per poll.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from otel_latency.clock import Clock
from otel_latency.collect.faults import describe
from otel_latency.collect.threads import DaemonThreads
from otel_latency.collect.validation import Validated, validate
from otel_latency.records import Sample

log = logging.getLogger(__name__)

MAX_SAMPLES: Final = 200
_LOG_EVERY: Final = 60.0


Collect = Callable[[], Iterable[Sample]] | Callable[[], Awaitable[Iterable[Sample]]]


class Sink(Protocol):
    """Takes what one poll measured: `SampleTable.put`, or a stand-in."""

    def __call__(self, source: str, samples: list[Sample], now: float) -> None:
        """*now* is Unix seconds."""


def _nothing() -> None:
    """A collector that holds nothing open has nothing to close."""


@dataclass(frozen=True, slots=True)
class Source:
    """A collector and when to poll it. Only our own (`is_ours`) may use names that begin with `otel_latency_`."""

    name: str
    collect: Collect
    interval: float
    timeout: float = 5.0
    close: Callable[[], None] = _nothing
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """How a collector is doing; times are Unix seconds, None before the first."""

    name: str
    interval: float
    failures: int
    skipped: int
    last_success: float | None
    last_error: str


class CollectorRunner:
    """Polls *sources* for *sink*; their names differ."""

    def __init__(self, sources: Sequence[Source], sink: Sink, clock: Clock) -> None:
        self._threads = DaemonThreads("otel-latency-collect", limit=max(len(sources), 1))
        self._polled = [_Polled(source, sink, clock, self._threads) for source in sources]

    async def run(self) -> None:
        """Poll every collector at once and then on its own grid, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for polled in self._polled:
                tasks.create_task(polled.run(), name=f"collect:{polled.source.name}")

    def status(self) -> list[CollectorStatus]:
        return [polled.status() for polled in self._polled]

    def close(self) -> None:
        """Close every collector that is not hanging. Twice, or before `run`, is harmless."""
        self._threads.close()
        for polled in self._polled:
            polled.close()


class _Polled:
    """One collector with its history."""

    def __init__(self, source: Source, sink: Sink, clock: Clock, threads: DaemonThreads) -> None:
        self.source = source
        self._sink = sink
        self._clock = clock
        self._threads = threads
        self._pending: asyncio.Future[Validated] | None = None
        self._failures = 0
        self._skipped = 0
        self._last_success: float | None = None
        self._last_error = ""
        self._logged: float | None = None

    async def run(self) -> None:
        await self._turn()
        async for tick in self._clock.ticks(self.source.interval):
            self._skipped += tick.folded
            await self._turn()

    def status(self) -> CollectorStatus:
        return CollectorStatus(
            self.source.name,
            float(self.source.interval),
            self._failures,
            self._skipped,
            self._last_success,
            self._last_error,
        )

    def close(self) -> None:
        if self._pending is not None and not self._pending.done():
            return  # it is in use by a thread that hangs
        try:
            self.source.close()
        except Exception as error:  # noqa: BLE001 - the others are still to be closed
            log.warning("closing collector %s failed: %s", self.source.name, describe(error))

    async def _turn(self) -> None:
        """Poll, or skip while the last poll hangs; either way tell the sink."""
        if self._pending is not None and not self._pending.done():
            self._skipped += 1
            samples: Sequence[Sample] = ()
        else:
            samples = await self._poll()
        try:
            self._sink(self.source.name, [*samples, *self._own_samples()], self._clock.time())
        except Exception:
            # A fault of the next step must not end the polling.
            log.exception("samples of collector %s were not taken", self.source.name)

    async def _poll(self) -> Sequence[Sample]:
        self._pending = pending = self._start()
        pending.add_done_callback(_see_error)
        try:
            await asyncio.wait({pending}, timeout=self.source.timeout)
        finally:
            if isinstance(pending, asyncio.Task):
                pending.cancel()  # a thread cannot be stopped: its late result is dropped
        if not pending.done():
            self._fail(f"no samples within {self.source.timeout:g} s")
            return ()
        try:
            samples, fault = pending.result()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it may raise anything: it costs this poll
            self._fail(describe(error))
            return ()
        if fault:
            self._fail(fault)
        else:
            self._last_success = self._clock.time()
        return samples

    def _start(self) -> asyncio.Future[Validated]:
        if inspect.iscoroutinefunction(self.source.collect):
            return asyncio.create_task(_collect_async(self.source))
        return self._threads.submit(partial(_collect, self.source))

    def _fail(self, error: str) -> None:
        self._failures += 1
        self._last_error = error
        now = self._clock.monotonic()
        if self._logged is None or now - self._logged >= _LOG_EVERY:
            self._logged = now
            log.warning("collector %s: %s; next poll in %g s", self.source.name, error, self.source.interval)

    def _own_samples(self) -> Iterable[Sample]:
        labels = {"collector": self.source.name}
        for what, count, text in (
            ("failures", self._failures, "Polls that failed, in whole or in part."),
            ("skipped", self._skipped, "Polls left out because the one before was still running."),
        ):
            yield Sample(f"otel_latency_agent_collector_{what}_total", count, labels, is_counter=True, help=text)


def _collect(source: Source) -> Validated:
    samples: Any = source.collect()
    return validate(samples, limit=MAX_SAMPLES, is_ours=source.is_ours)


async def _collect_async(source: Source) -> Validated:
    samples: Any = source.collect()
    return validate(await samples, limit=MAX_SAMPLES, is_ours=source.is_ours)


def _see_error(done: asyncio.Future[Validated]) -> None:
    """Nobody else looks at the outcome of a poll that was given up."""
    if not done.cancelled():
        done.exception()
