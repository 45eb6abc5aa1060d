"""Delivery, connected: an accepted request is in the durable log before its sender hears so, and stays there until the
aggregates that it led to are on disk and every destination has it.

    intake --good items, content cut out--> log --fsync--> handed on, sender answered
                                             |                  |
                                             |                  +--> history: what came of it, and how far that reaches
                                             +--after a crash: what the history does not have yet, handed on again
                                             +--> forwarder --> any OTLP destination

So counters are exact over any crash, each accepted request being counted once, and destinations get everything at least
once. With `durability: memory` nothing is written, and what was accepted lives as long as the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp.abc import AbstractResolver

from otel_latency.clock import Clock
from otel_latency.config.sections import Config, ForwardDestination
from otel_latency.errors import DecodeError
from otel_latency.forward.batch import Batch
from otel_latency.records import MetricPoint, Signal
from otel_latency.wal.disk import Record
from otel_latency.wal.log import Log, Reader

if TYPE_CHECKING:
    from otel_latency.forward.build import Forwarder
    from otel_latency.forward.destination import Destination

FOLDER: Final = "log"
SEGMENT_BYTES: Final = 4 << 20
SEGMENTS: Final = 16
"""Into how many a full log is divided at least: so little goes when there is no room."""
PRESSED: Final = 0.25
"""Of a full log."""
SENT_AGAIN_WITHIN: Final = 60.0
"""Seconds for which a sender may try again to send what it does not know to have arrived."""
AGGREGATE: Final = "aggregate"
"""The reader whose cursor is in the history."""
_SIGNALS: Final = tuple(Signal)
_IS_JSON: Final = 1

log = logging.getLogger(__name__)


class Recall(Protocol):
    """Takes a request of a former run."""

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool) -> int: ...


class Remember(Protocol):
    """Takes a request with spans that a former run has counted."""

    def __call__(self, body: bytes, *, is_json: bool) -> None: ...


class LogSource:
    """A destination's reader of the log."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.commit = reader.commit

    async def read(self, most_bytes: int) -> Sequence[Batch]:
        """See `forward.batch.Source`."""
        return [
            Batch(one.position, one.time_ns, _SIGNALS[one.kind], bool(one.flags & _IS_JSON), one.items, one.body)
            for one in await self._reader.read(most_bytes)
        ]

    @property
    def queued(self) -> int:
        return self._reader.queued

    @property
    def queued_spans(self) -> int:
        return self._reader.queued_spans

    @property
    def recovered_spans(self) -> int:
        return self._reader.recovered_spans

    @property
    def oldest_seconds(self) -> float:
        return self._reader.oldest_seconds

    @property
    def dropped(self) -> Mapping[str, int]:
        return self._reader.dropped

    @property
    def dropped_spans(self) -> Mapping[str, int]:
        return self._reader.dropped_spans


class Delivery:
    """The log in *folder*, and who reads it. *reached* is told the position of each request that has been handed on."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        clock: Clock,
        reached: Callable[[int], None],
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Raises ConfigError when a file that a destination needs cannot be used."""
        store = config.store
        self.is_needed = store.durability == "disk" or bool(config.forward)
        """Whether requests have to be kept: in memory, and without destinations, nobody would come back for them."""
        self.log = Log(
            folder / FOLDER if store.durability == "disk" else None,
            clock=clock,
            max_bytes=int(store.log_bytes),
            segment_bytes=min(SEGMENT_BYTES, int(store.log_bytes) // SEGMENTS),
            on_disk_failure=store.on_disk_failure,
        )
        self._log_bytes = int(store.log_bytes)
        self._strip = _strip(config.forward)
        self._destinations = config.forward
        self._clock = clock
        self._resolver = resolver
        self._reached = reached
        self._forwarder: Forwarder | None = None
        self.recovered: Counter[Signal] = Counter()
        """Items of a former run that the history did not have."""
        if self._destinations:
            from otel_latency.forward.build import faults_of_files

            for fault in faults_of_files(self._destinations):
                raise fault

    async def start(self, position: int | None, recall: Recall, remember: Remember) -> None:
        """Open the log, and hand on again what lies behind *position*; what came shortly before is to be remembered.

        So what was counted before a crash, and is sent again because the answer was lost, is not counted twice. Where
        the history has lost its position (None), the log remembers what was `written` last. Raises nothing; see
        `log.fault`.
        """
        await self.log.open({AGGREGATE: position, **dict.fromkeys(self._reader_names())})
        with suppress(OSError):  # then what is sent again counts twice
            await self._recall_latest(self.log.readers[AGGREGATE].cursor.done.number, remember)
        reader = self.log.readers[AGGREGATE]
        async for record in reader.backlog():
            self._recall(record, recall)
        reader.follow()
        if self.recovered:
            log.info("%d items of a former run were counted now", self.recovered.total())
        if self._destinations:
            self._forwarder = self._build()

    def keep(
        self, signal: Signal, body: bytes, *, is_json: bool, items: int, then: Callable[[], None]
    ) -> Awaitable[int]:
        """Keep a request, then hand it on. Raises Overloaded when that cannot be now."""
        flags = _IS_JSON if is_json else 0
        kind = _SIGNALS.index(signal)
        spans = items if signal is Signal.TRACES else 0
        kept = self._strip(signal, body, is_json)
        return self.log.append(kind, kept, items=items, spans=spans, flags=flags, then=partial(self._hand_on, then))

    def written(self, position: int) -> None:
        """All that was handed on up to *position* is on disk."""
        self.log.readers[AGGREGATE].commit(position)

    async def run(self) -> None:
        """Look after the log, and forward, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.log.run(), name="log")
            if self._forwarder is not None:
                tasks.create_task(self._forwarder.run(), name="forward")

    async def close(self) -> None:
        """Write what waits. What was not forwarded is when the agent runs again."""
        if self._forwarder is not None:
            await self._forwarder.close()
        await self.log.close()

    @property
    def is_pressed(self) -> bool:
        """Whether so much waits to be `written` that the log may come to need its room."""
        reader = self.log.readers.get(AGGREGATE)
        return reader is not None and reader.queued_bytes > PRESSED * self._log_bytes

    # --- what there is to tell -----------------------------------------------------------------------------------

    def log_status(self) -> Mapping[str, object]:
        """The section `log` of /status."""
        recovered = {signal.value: count for signal, count in self.recovered.items()}
        return {**self.log.status(), "recovered": recovered}

    def forward_status(self) -> list[dict[str, object]]:
        """The section `forward` of /status."""
        return self._forwarder.status() if self._forwarder is not None else []

    def forwarded(self) -> Mapping[str, float]:
        """Spans that each destination has taken."""
        return {one.name: one.forwarded[Signal.TRACES] for one in self._each()}

    def queued(self) -> Mapping[str, float]:
        """Spans that wait for each destination."""
        return {one.name: one.queued_spans for one in self._each()}

    def left(self) -> Mapping[str, float]:
        """Spans that a former run left for each destination."""
        return {one.name: one.recovered_spans for one in self._each()}

    def lost_spans(self) -> Mapping[tuple[str, str], float]:
        """Spans that each destination will never have, by reason, those that it refused among them.

        For each destination, spans received + those left by a former run = forwarded + queued + rejected at the door +
        these. For that sum all four are to be of one moment, when nothing is in flight.
        """
        return {(one.name, reason): count for one in self._each() for reason, count in one.lost_spans.items()}

    def lost(self) -> Mapping[tuple[str, str], float]:
        """Items that each destination will never have, by reason, those that it refused among them."""
        lost: dict[tuple[str, str], float] = {}
        for one in self._each():
            lost |= {(one.name, reason): count for reason, count in one.dropped.items()}
            if rejected := one.rejected.total():
                lost[one.name, "rejected"] = rejected
        return lost

    def _each(self) -> Sequence[Destination]:
        return self._forwarder.destinations if self._forwarder is not None else ()

    def _reader_names(self) -> list[str]:
        if not self._destinations:
            return []
        from otel_latency.forward.build import reader_name

        return [reader_name(one) for one in self._destinations]

    def _build(self) -> Forwarder:
        from otel_latency.forward.build import build

        return build(
            self._destinations,
            lambda name: LogSource(self.log.readers[name]),
            self._clock,
            resolver=self._resolver,
        )

    def _hand_on(self, then: Callable[[], None], position: int) -> None:
        then()
        self._reached(position)

    async def _recall_latest(self, position: int, remember: Remember) -> None:
        since_ns = 1e9 * (self._clock.time() - SENT_AGAIN_WITHIN)
        async for record in self.log.latest(position):
            if record.time_ns >= since_ns and _SIGNALS[record.kind] is Signal.TRACES:
                with suppress(DecodeError):
                    remember(record.body, is_json=bool(record.flags & _IS_JSON))

    def _recall(self, record: Record, recall: Recall) -> None:
        """A request that cannot be decoded any more, by a later version say, is passed over."""
        signal = _SIGNALS[record.kind]
        try:
            self.recovered[signal] += recall(signal, record.body, is_json=bool(record.flags & _IS_JSON))
        except DecodeError as error:
            log.warning("a request of a former run cannot be read: %s", error)
        self._reached(record.position)


def without_content(points: Iterable[MetricPoint]) -> list[MetricPoint]:
    """The points as they may be shown: an attribute that holds what was said becomes no label."""
    return [_shown(point) if any(map(_is_content, point.attributes)) else point for point in points]


def _shown(point: MetricPoint) -> MetricPoint:
    return replace(point, attributes={key: value for key, value in point.attributes.items() if not _is_content(key)})


@lru_cache(4096)
def _is_content(key: str) -> bool:
    from otel_latency.forward.content import denied

    return key.encode(errors="replace") in denied()


def _strip(destinations: Sequence[ForwardDestination]) -> Callable[[Signal, bytes, bool], bytes]:
    """Prompts and completions are not written down, unless a destination wants them."""
    if any(one.content == "keep" for one in destinations):
        return lambda _signal, body, _is_json: body

    def strip(signal: Signal, body: bytes, is_json: bool) -> bytes:
        cut, cut_json = _content_cutters()
        return cut_json(body) if is_json else cut(body, signal)

    return strip


@cache
def _content_cutters() -> tuple[Callable[[bytes, Signal], bytes], Callable[[bytes], bytes]]:
    """For protobuf and for JSON; loaded with the first request."""
    from otel_latency.forward.content import denied
    from otel_latency.forward.redact import redactor
    from otel_latency.forward.redact_json import redact_json

    content = denied(())
    return redactor(content).redact, partial(redact_json, denied=content)
