"""Delivery, connected: an accepted request is in the durable log before its sender hears so, and stays there until the
aggregates that it led to are on disk as well.

    intake --good items--> log --fsync--> handed on, sender answered
                            |                 |
                            |                 +--> history: what came of it, and how far in the log that reaches
                            +--after a crash: what the history does not have yet, handed on again

So counters are exact over any crash, each accepted request being counted once. With `durability: memory` nothing is
written, and what was accepted lives as long as the process.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from otel_latency.clock import Clock
from otel_latency.config.sections import Store
from otel_latency.errors import DecodeError
from otel_latency.records import Signal
from otel_latency.wal.disk import Record
from otel_latency.wal.log import Log

FOLDER: Final = "log"
AGGREGATE: Final = "aggregate"
"""The reader whose cursor is in the history."""
_SIGNALS: Final = tuple(Signal)
_IS_JSON: Final = 1

log = logging.getLogger(__name__)


class Recall(Protocol):
    """Takes a request of a former run."""

    def __call__(self, signal: Signal, body: bytes, *, is_json: bool) -> int: ...


class Delivery:
    """The log of *store* in *folder*. *reached* is told the position of each request that has been handed on."""

    def __init__(self, store: Store, folder: Path, *, clock: Clock, reached: Callable[[int], None]) -> None:
        self.log = Log(
            folder / FOLDER if store.durability == "disk" else None,
            clock=clock,
            max_bytes=int(store.log_bytes),
            on_disk_failure=store.on_disk_failure,
        )
        self.is_needed = store.durability == "disk"
        """Whether requests have to be kept: in memory alone nobody would come back for them."""
        self._reached = reached
        self.recovered: Counter[Signal] = Counter()
        """Items of a former run that the history did not have."""

    async def start(self, position: int, recall: Recall) -> None:
        """Open the log, and hand on again what lies behind *position*. Raises nothing; see `log.fault`."""
        await self.log.open({AGGREGATE: position})
        reader = self.log.readers[AGGREGATE]
        async for record in reader.backlog():
            self._recall(record, recall)
        reader.follow()
        if self.recovered:
            log.info("%d items of a former run were counted now", self.recovered.total())

    def keep(
        self, signal: Signal, body: bytes, *, is_json: bool, items: int, then: Callable[[], None]
    ) -> Awaitable[int]:
        """Keep a request, then hand it on. Raises Overloaded when that cannot be now."""
        flags = _IS_JSON if is_json else 0
        kind = _SIGNALS.index(signal)
        return self.log.append(kind, body, items=items, flags=flags, then=partial(self._hand_on, then))

    def written(self, position: int) -> None:
        """All that was handed on up to *position* is on disk."""
        self.log.readers[AGGREGATE].commit(position)

    async def run(self) -> None:
        """Look after the log until cancelled."""
        await self.log.run()

    async def close(self) -> None:
        """Write what waits."""
        await self.log.close()

    def status(self) -> Mapping[str, object]:
        """The section `log` of /status."""
        recovered = {signal.value: count for signal, count in self.recovered.items()}
        return {**self.log.status(), "recovered": recovered}

    def _hand_on(self, then: Callable[[], None], position: int) -> None:
        then()
        self._reached(position)

    def _recall(self, record: Record, recall: Recall) -> None:
        """A request that cannot be decoded any more, by a later version say, is passed over."""
        signal = _SIGNALS[record.kind]
        try:
            self.recovered[signal] += recall(signal, record.body, is_json=bool(record.flags & _IS_JSON))
        except DecodeError as error:
            log.warning("a request of a former run cannot be read: %s", error)
        self._reached(record.position)
