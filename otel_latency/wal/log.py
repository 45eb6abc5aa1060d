"""The durable log: a request is acknowledged when it is here, and stays until every reader is done with it.

    append --compressed--> waiting --group commit--> writer thread --> segment, fsync --> then(position), acknowledged
                                                              ^-- readers, each from where it was, also after a crash

What `append` has returned for survives the end of the process and of the machine's power. Positions grow by the record,
from 1, and none is given twice. A reader that commits a position has done with all records up to it. How far it had
committed is known again after the end of the process, and to the second after that of the machine's power, so that it
gets some records twice and misses none. A reader that keeps its own cursor, in a transaction with its results, gets
every record once.

A request that comes alone is written at once. After each group the disk rests as long as the group took, at most
`group_commit`, unless `group_bytes` wait. Meanwhile, and while the disk works, requests gather: one fsync is for many.
Where the disk fails, records are kept in memory and `acked_nondurable` counts their items, or they are refused with
Overloaded; the disk is tried again each second.

On disk the log has never more than *max_bytes*: the oldest segment goes whole, and each reader that has not read it
counts what it lost. Memory: 8 MiB while the disk fails, 16 MiB that wait for it, compressed, and 2 MiB else.
Cost, for a body of 150 kB: 0.1 ms of CPU time, most of it on the loop, 25 kB of disk, and an fsync or a part of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import randbits
from typing import Final, Literal, NamedTuple, TypeVar

from otel_latency.clock import Clock
from otel_latency.errors import Overloaded
from otel_latency.wal.cursor import OVERFLOW, Cursor
from otel_latency.wal.disk import Appended, Disk, Mark, Record
from otel_latency.wal.format import START, Codec, Entry, Place, after

MAX_WAITING_BYTES: Final = 16 << 20
READ_BYTES: Final = 1 << 20
RETRY_EVERY: Final = 1.0
TELL_EVERY: Final = 60.0
T = TypeVar("T")
log = logging.getLogger(__name__)


def _random_salt() -> int:
    return randbits(32)


class _Waiting(NamedTuple):
    """A request that is not kept yet."""

    entry: Entry
    then: Callable[[int], None] | None
    kept: asyncio.Future[int]
    until: float
    """When its sender's patience ends, on the loop's clock."""


class Log:
    """`open` first, then `run` beside everything else, `close` last. *folder* None keeps all in memory."""

    def __init__(
        self,
        folder: Path | None,
        *,
        clock: Clock,
        max_bytes: int = 64 << 20,
        segment_bytes: int = 4 << 20,
        group_commit: float = 0.010,
        group_bytes: int = 256 << 10,
        patience: float = 5.0,
        on_disk_failure: Literal["memory", "refuse"] = "memory",
        salt: Callable[[], int] = _random_salt,
    ) -> None:
        self._clock = clock
        self._group_commit = group_commit
        self._group_bytes = group_bytes
        self._patience = patience
        self._disk = Disk(
            folder,
            max_bytes=max_bytes,
            segment_bytes=segment_bytes,
            keep_in_memory=on_disk_failure == "memory",
            salt=salt,
        )
        self._codec = Codec()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="otel-latency-log")
        self._waiting: list[_Waiting] = []
        self._group: list[_Waiting] = []
        self._waiting_bytes = 0
        self._watch: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._appended = asyncio.Event()
        self._committed = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._noter: asyncio.Task[None] | None = None
        self._is_closing = False
        self.readers: dict[str, Reader] = {}
        self._remembered: dict[str, Place] = {}
        self.end = START
        self._told: dict[str, float] = {}
        self.acked_nondurable = 0
        """Items that were acknowledged while they were in memory only."""
        self.acked_nondurable_spans = 0
        """Those of them that are spans."""

    @property
    def fault(self) -> str:
        """What is wrong, in a sentence; empty when all is well."""
        return self._disk.fault

    @property
    def size_bytes(self) -> int:
        """On disk, in whole blocks, and in memory while the disk fails."""
        return self._disk.size_bytes

    async def open(self, readers: Mapping[str, int | None]) -> None:
        """Find what an earlier run left for *readers*: the last position each is done with, or None.

        With None it is what the log remembers; a reader that it has never heard of begins with the oldest record there
        is. Raises nothing; see `fault`.
        """
        places = await self._on_thread(lambda: self._disk.open(readers, self._clock.time()))
        self.end = self._disk.end
        self.readers = {name: Reader(name, self, Cursor(place)) for name, place in places.items()}
        if not self._disk.fault:  # then what is missing at the beginning had to go, to make room
            self._lose([(START, self._disk.first)])
        for name, number in readers.items():
            if number is not None and (lost := self._disk.first.number - number) > 0:
                log.error("%d requests had to go before %s had done with them: they are lost to it", lost, name)
        self._writer = asyncio.create_task(self._write_groups(), name="log:writer")
        self._noter = asyncio.create_task(self._note_cursors(), name="log:cursors")

    async def append(
        self,
        kind: int,
        body: bytes,
        *,
        items: int,
        spans: int = 0,
        flags: int = 0,
        then: Callable[[int], None] | None = None,
    ) -> int:
        """Keep *body*, in which so many items are, and *spans* of them; returns its position when it is durable.

        *kind* and *flags* are bytes that come back with it. *then* is called with the position as well, on the loop, in
        the order of positions and before anybody is answered; also when nobody waits for the answer any more.

        Raises Overloaded when the disk is too slow, hangs for longer than *patience* (the record may be kept all the
        same), or is broken and memory not to stand in; ValueError where a number does not fit its field.
        """
        if not (0 <= kind < 256 and 0 <= flags < 256 and 0 <= spans <= items < 1 << 32):
            raise ValueError("kind and flags are bytes, items a count of at most 32 bits, and spans some of them")
        if self._is_closing or self._writer is None:
            raise Overloaded("the log is not open")
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            raise Overloaded("the log's disk does not keep up")
        # Here and not on the writer's thread: that would stop us more often, for Python's lock, than it saves.
        payload = self._codec.compress(body)
        entry = Entry(kind, flags, items, int(self._clock.time() * 1e9), len(body), payload, spans)
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[int] = loop.create_future()
        self._waiting.append(_Waiting(entry, then, kept, loop.time() + self._patience))
        if self._watch is None:
            self._watch = loop.call_later(self._patience, self._look_for_hang)
        self._waiting_bytes += len(payload)
        self._arrived.set()
        if self._waiting_bytes >= self._group_bytes:
            self._enough.set()
        return await kept

    async def run(self) -> None:
        """Every second try a broken disk again, remember cursors and delete what everybody has read."""
        async for _ in self._clock.ticks(RETRY_EVERY):
            await self.maintain()

    async def maintain(self) -> None:
        """What `run` does each second."""
        self._lose(await self._on_thread(lambda: self._disk.retry(self._clock.time())))
        await self._remember()
        for reader in self.readers.values():
            await reader.look()

    async def close(self) -> None:
        """Write what waits, remember cursors, and end. Twice, or before `open`, is harmless."""
        self._is_closing = True
        if self._writer is not None:
            self._arrived.set()
            self._enough.set()
            await self._writer
            self._writer = None
            if self._noter is not None:
                self._noter.cancel()
                await asyncio.wait([self._noter])
            if self._watch is not None:
                self._watch.cancel()
            await self.maintain()
            await self._on_thread(self._disk.close)
        self._thread.shutdown(wait=False)

    def status(self) -> dict[str, object]:
        """The section `log` of /status."""
        return {
            "position": self.end.number,
            "size_bytes": self.size_bytes,
            "waiting_bytes": self._waiting_bytes,
            "acked_nondurable": self.acked_nondurable,
            "torn_bytes": self._disk.torn_bytes,
            "fault": self.fault,
            "readers": {name: reader.status() for name, reader in self.readers.items()},
        }

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or not self._is_closing:
            await self._arrived.wait()
            began = loop.time()
            if self._waiting:
                await self._write_group()
                took = loop.time() - began
                await self._pause(min(max(took, 0.2 * self._group_commit), self._group_commit))

    async def _write_group(self) -> None:
        group, self._waiting = self._waiting, []
        self._group = group
        self._arrived.clear()
        try:
            appended = await self._on_thread(partial(self._disk.append, [one.entry for one in group]))
        except Exception as error:  # noqa: BLE001 - the requests fail, the log goes on
            _refuse(group, error)
        else:
            self._settle(group, appended)
        self._group = []
        self._waiting_bytes -= sum(len(one.entry.payload) for one in group)

    def _look_for_hang(self) -> None:
        """One timer for all: a timeout for each request would cost as much as writing it."""
        loop = asyncio.get_running_loop()
        pending = [one for one in (*self._group, *self._waiting) if not one.kept.done()]
        for one in pending:
            if one.until <= loop.time():
                one.kept.set_exception(Overloaded("the log's disk hangs"))
        soonest = min((one.until for one in pending if not one.kept.done()), default=None)
        self._watch = None if soonest is None else loop.call_at(soonest, self._look_for_hang)

    async def _pause(self, seconds: float) -> None:
        """Let so much time pass, unless there is enough for a group."""
        if self._waiting_bytes >= self._group_bytes or self._is_closing:
            return
        self._enough.clear()
        timer = asyncio.get_running_loop().call_later(seconds, self._enough.set)
        await self._enough.wait()
        timer.cancel()

    def _settle(self, group: list[_Waiting], appended: Appended) -> None:
        self.end = appended.end
        self._lose(appended.dropped)
        place = appended.before
        for one in group:
            before, place = place, after(place, one.entry)
            self._hand_on(one, before, place)
            if not appended.is_durable:
                self.acked_nondurable += one.entry.items
                self.acked_nondurable_spans += one.entry.spans
            if not one.kept.done():
                one.kept.set_result(place.number)
        self._appended.set()
        self._appended = asyncio.Event()

    def _lose(self, dropped: Iterable[tuple[Place, Place]]) -> None:
        for start, stop in dropped:
            for reader in self.readers.values():
                before = reader.dropped.get(OVERFLOW, 0)
                reader.cursor.lose(start, stop)
                if reader.dropped.get(OVERFLOW, 0) > before:
                    self._tell_loss(reader)

    def _tell_loss(self, reader: Reader) -> None:
        """Once a minute."""
        now = self._clock.monotonic()
        if now - self._told.get(reader.name, -TELL_EVERY) >= TELL_EVERY:
            self._told[reader.name] = now
            lost = reader.dropped[OVERFLOW]
            log.warning("the log is full: %d items, the oldest, are lost to %s so far", lost, reader.name)

    def _hand_on(self, one: _Waiting, before: Place, place: Place) -> None:
        for reader in self.readers.values():
            if reader.is_following:
                reader.cursor.take(before, place, one.entry.time_ns)
        try:
            if one.then is not None:
                one.then(place.number)
        except Exception:
            log.exception("record %d is in the log, and could not be handed on", place.number)

    async def latest(self, number: int) -> AsyncIterator[Record]:
        """The newest records up to *number*, read by everybody or not: `segment_bytes` of them, if so many there were.

        Raises OSError when the disk does not give them now.
        """
        mark = await self._on_thread(lambda: self._disk.newest(number))
        while mark.number < min(number, self.end.number):
            found, mark, _ = await self.read(mark, READ_BYTES)
            for _, record in found:
                if record.position <= number:
                    yield record

    async def wait(self, number: int) -> None:
        """Until there is a record behind *number*."""
        while self.end.number <= number:
            await self._appended.wait()

    async def read(self, mark: Mark, most_bytes: int) -> tuple[list[tuple[Place, Record]], Mark, Place]:
        """For readers: see `Disk.read`."""
        return await self._on_thread(lambda: self._disk.read(mark, most_bytes))

    def bytes_behind(self, number: int) -> int:
        """For readers: see `Disk.bytes_behind`."""
        return self._disk.bytes_behind(number)

    async def oldest_ns(self, number: int) -> int | None:
        """For readers: see `Disk.oldest_ns`."""
        return await self._on_thread(lambda: self._disk.oldest_ns(number))

    def now(self) -> float:
        """Unix seconds."""
        return self._clock.time()

    def committed(self) -> None:
        """For readers: this one has done with more."""
        self._committed.set()

    async def _note_cursors(self) -> None:
        while True:
            await self._committed.wait()
            self._committed.clear()
            with suppress(OSError):  # then what `_remember` saves has to do
                await self._on_thread(partial(self._disk.note, self._cursors()))

    def _cursors(self) -> dict[str, Place]:
        return {name: reader.cursor.done for name, reader in self.readers.items()}

    async def _remember(self) -> None:
        through = min((reader.cursor.done for reader in self.readers.values()), default=self.end).number
        await self._on_thread(lambda: self._disk.release(through))
        ours = self._cursors()
        if ours != self._remembered:
            with suppress(OSError):  # the disk's fault is told when it refuses records
                await self._on_thread(lambda: self._disk.save(ours))
                self._remembered = ours

    def _on_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


class Reader:
    """One of those that everything in the log is for; made by `Log.open`, under its name in `Log.readers`."""

    def __init__(self, name: str, owner: Log, cursor: Cursor) -> None:
        self.name = name
        self.cursor = cursor
        self.is_following = False
        self._log = owner
        self._mark = Mark(cursor.read.number)
        self._oldest_ns: int | None = None
        self.recovered_spans = self.queued_spans
        """Spans that an earlier run left in the log for this reader."""

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing left to read."""
        return self.cursor.read.number >= self._log.end.number

    @property
    def dropped(self) -> Mapping[str, int]:
        """Items that this reader never got, by reason, since the log was opened."""
        return self.cursor.dropped

    @property
    def dropped_spans(self) -> Mapping[str, int]:
        """Those of them that are spans."""
        return self.cursor.dropped_spans

    @property
    def queued(self) -> int:
        """Items that are in the log for this reader, read or not, and not committed."""
        return self.cursor.queued(self._log.end)

    @property
    def queued_spans(self) -> int:
        """Those of them that are spans."""
        return self.cursor.queued_spans(self._log.end)

    @property
    def queued_bytes(self) -> int:
        """What these take of the disk, to the segment."""
        return self._log.bytes_behind(self.cursor.done.number)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest of these waits; known to the second."""
        oldest = self.cursor.oldest_ns or self._oldest_ns
        if self.cursor.done.number >= self._log.end.number or oldest is None:
            return 0.0
        return max(0.0, self._log.now() - oldest / 1e9)

    async def read(self, most_bytes: int = READ_BYTES) -> list[Record]:
        """The next records, as soon as there is one: about *most_bytes* of bodies.

        Raises OSError when the disk does not give them now.
        """
        while True:
            await self._log.wait(self.cursor.read.number)
            if records := await self._read(most_bytes):
                return records

    async def backlog(self) -> AsyncIterator[Record]:
        """What is there and was not read yet, up to the moment when there is no more."""
        while not self.is_at_end:
            for record in await self._read(READ_BYTES):
                yield record

    def follow(self) -> None:
        """From here on this reader gets its records by *then* of `Log.append`; it still has to commit them."""
        if not self.is_at_end:
            raise ValueError(f"{self.name} has not read all that is in the log: follow() comes after backlog()")
        self.is_following = True

    def commit(self, position: int) -> None:
        """The records up to *position* are done with, and will not come again."""
        self.cursor.commit(position)
        self._log.committed()

    async def look(self) -> None:
        """Find out how old the oldest record is, where none is read that is not done."""
        if self.cursor.oldest_ns is not None:
            return
        number = self.cursor.done.number
        self._oldest_ns = await self._log.oldest_ns(number) if number < self._log.end.number else None

    def status(self) -> dict[str, object]:
        return {
            "committed": self.cursor.done.number,
            "queued": self.queued,
            "oldest_seconds": self.oldest_seconds,
            "dropped": dict(self.dropped),
        }

    async def _read(self, most_bytes: int) -> list[Record]:
        """None where all that is left is lost."""
        mark = self._mark if self._mark.number >= self.cursor.read.number else Mark(self.cursor.read.number)
        found, self._mark, reached = await self._log.read(mark, most_bytes)
        new = [(before, record) for before, record in found if before.number >= self.cursor.read.number]
        for before, record in new:
            behind = Place(record.position, before.items + record.items, before.spans + record.spans)
            self.cursor.take(before, behind, record.time_ns)
        self.cursor.reach(reached)
        return [record for _, record in new]


def _refuse(group: list[_Waiting], error: Exception) -> None:
    if not isinstance(error, Overloaded):
        log.error("the log cannot take %d requests: %r", len(group), error)
    for one in group:
        if not one.kept.done():
            one.kept.set_exception(Overloaded(str(error)))
