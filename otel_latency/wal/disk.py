"""The log's segments and their folder, blocking: all of it is called on one thread, that of its owner.

The parts are the segments, oldest first, and behind them what has to stay in memory while the disk does not take it.
A group that a disk refuses is written again, once, to a new segment; then the disk is left alone until `retry`. A part
is deleted when `release` says that everybody has read it, or when there is no room for what is new: the oldest goes
whole. Put-aside files go before that. On disk it never takes more than *max_bytes*.

`fault` says in a sentence what is wrong.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from otel_latency.errors import Overloaded
from otel_latency.wal import cursor
from otel_latency.wal.format import SEGMENT_BYTES, START, Codec, Entry, Place, after
from otel_latency.wal.memory import Memory
from otel_latency.wal.recovery import is_aside, put_damaged_aside, recover
from otel_latency.wal.segment import Segment, size_of, sync_folder

MEMORY_BYTES: Final = 8 << 20
_CURSOR_BYTES: Final = 12288
"""The cursors' file, its successor and the note, in blocks."""
_BLOCK: Final = 4096
log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One accepted request as it was appended."""

    position: int
    kind: int
    flags: int
    items: int
    time_ns: int
    body: bytes
    spans: int = 0


class Mark(NamedTuple):
    """Where a reader stands: behind the record of this number; the rest helps to find it."""

    number: int
    part: Segment | Memory | None = None
    offset: int = 0


class Read(NamedTuple):
    """Records with the places before them, where to go on, and a place before which there is no more."""

    records: list[tuple[Place, Record]]
    mark: Mark
    reached: Place


class Appended(NamedTuple):
    """The places before and behind a group, whether it is durable, and the stretches that had to go for it."""

    before: Place
    end: Place
    is_durable: bool
    dropped: Sequence[tuple[Place, Place]]


class Disk:
    """Kept in *folder*, or in memory where that is None; `open` comes first."""

    def __init__(
        self,
        folder: Path | None,
        *,
        max_bytes: int,
        segment_bytes: int,
        keep_in_memory: bool,
        salt: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._room = max_bytes - _CURSOR_BYTES
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._keep_in_memory = keep_in_memory or folder is None
        self._salt = salt
        self._codec = Codec()
        self._segments: list[Segment] = []
        self._active: Segment | None = None
        self._memory = Memory(MEMORY_BYTES)
        self._dropped: list[tuple[Place, Place]] = []
        self._aside: list[tuple[Path, int]] = []
        self._is_open = False
        self._now = 0.0
        self._damage = ""
        self._trouble = ""
        self.end = START
        self.torn_bytes = 0
        """What was cut off at the start, as it was never acknowledged."""

    @property
    def fault(self) -> str:
        return self._trouble or self._damage

    @property
    def first(self) -> Place:
        """Before the oldest record that is there; START where there is none."""
        return next((part.first for part in self._parts()), START)

    @property
    def size_bytes(self) -> int:
        """Of files, in whole blocks, and of memory."""
        return self._disk_bytes + self._memory.size

    def open(self, readers: Mapping[str, int | None], now: float) -> dict[str, Place]:
        """Read what is there. The answer is where each reader stands; None means that the log itself remembers.

        Raises nothing.
        """
        saved: dict[str, Place] = {}
        self._now = now
        if self._folder is not None:
            try:
                self._open(self._folder)
                saved = cursor.load(self._folder)
            except OSError as error:
                self._stay_in_memory(error)
        places = {
            name: saved[name] if number is None and name in saved else self._locate(number or 0)
            for name, number in readers.items()
        }
        known = max((number or 0 for number in readers.values()), default=0)
        self.end = max([self.end, self.end._replace(number=known), *places.values()])
        return {name: max(place, place._replace(number=readers[name] or 0)) for name, place in places.items()}

    def append(self, entries: Sequence[Entry]) -> Appended:
        """Keep a group of records. Raises Overloaded where the disk does not take it, and memory is not to."""
        before = self.end
        is_durable = False
        if not self._trouble and self._folder is not None:
            try:
                self._write(entries, before)
                is_durable = True
            except OSError as error:
                self._stay_in_memory(error)
        if not is_durable:
            if not self._keep_in_memory:
                raise Overloaded(self._trouble)
            self._keep(entries, before)
        for entry in entries:
            self.end = after(self.end, entry)
        dropped, self._dropped = self._dropped, []
        return Appended(before, self.end, is_durable, dropped)

    def read(self, mark: Mark, most_bytes: int) -> Read:
        """The records behind *mark*, until their bodies have *most_bytes*; never none while there is one."""
        for part in self._parts():
            if part.end.number > mark.number:
                found = self._read_part(part, mark, most_bytes)
                if found.records or found.reached >= self.end:
                    return found
                mark = found.mark
        return Read([], Mark(self.end.number), self.end)

    def newest(self, number: int) -> Mark:
        """The place behind which the newest records up to *number* are, with a segment's bytes or two."""
        begin, size = number, 0
        for segment in reversed(self._segments):
            if segment.first.number < number and size < self._segment_bytes:
                begin = segment.first.number
                size += segment.disk_bytes if segment.end.number <= number else 0
        return Mark(begin)

    def bytes_behind(self, number: int) -> int:
        """What the segments take of the disk in which there are records behind *number*."""
        return sum(segment.disk_bytes for segment in self._segments if segment.end.number > number)

    def oldest_ns(self, number: int) -> int | None:
        """When the first record behind *number* came."""
        for part in self._parts():
            if part.end.number > number:
                with suppress(OSError):
                    return next((found.entry.time_ns for found in part.read(number, 0)), None)
        return None

    def release(self, number: int) -> None:
        """Everybody has read the records up to *number*; the newest stay, for whoever asks what came last.

        There is always one, whose name keeps the numbers from being given again.
        """
        self._memory.forget(number)
        behind = sum(segment.disk_bytes for segment in self._segments)
        while self._segments and self._segments[0].end.number <= number:
            behind -= self._segments[0].disk_bytes
            if behind < self._segment_bytes:
                return
            self._discard(self._segments.pop(0))

    def save(self, cursors: Mapping[str, Place]) -> None:
        """Remember how far those readers are whose cursors live here. Raises OSError."""
        if self._folder is not None and self._is_open:
            cursor.save(self._folder, cursors)

    def note(self, cursors: Mapping[str, Place]) -> None:
        """The same for the end of the process only, and in no time. Raises OSError."""
        if self._folder is not None and self._is_open:
            cursor.note(self._folder, cursors)

    def retry(self, now: float) -> Sequence[tuple[Place, Place]]:
        """Try the disk again, if it was in trouble, with what has to go there; the answer is what went for that."""
        self._now = now
        if self._trouble and self._folder is not None:
            self._retry(self._folder)
        dropped, self._dropped = self._dropped, []
        return dropped

    def close(self) -> None:
        """Twice is harmless."""
        for segment in self._segments:
            segment.close()
        self._active = None

    def _retry(self, folder: Path) -> None:
        try:
            if not self._is_open:
                self._open_late(folder)
            first = self._memory.first if self._memory else self.end
            self._roll(first).append([], first)
            while self._memory:
                entries = self._memory.oldest(self._segment_bytes)
                self._write(entries, self._memory.first)
                self._memory.forget(self._active.end.number if self._active else 0)
        except OSError as error:
            self._stay_in_memory(error)
        else:
            log.warning("the log is on disk again")
            self._trouble = ""

    def _parts(self) -> Iterator[Segment | Memory]:
        yield from self._segments
        if self._memory:
            yield self._memory

    def _open(self, folder: Path) -> None:
        _make_folder(folder)
        recovered = recover(folder, self._max_bytes, self._now)
        self._segments = recovered.segments
        self.end = recovered.end
        self._damage = recovered.faults[-1] if recovered.faults else ""
        self.torn_bytes = recovered.torn_bytes
        if recovered.torn_bytes:
            log.warning("the log ended in %d bytes that were never acknowledged: cut off", recovered.torn_bytes)
        self._is_open = True
        self._look_aside()

    def _open_late(self, folder: Path) -> None:
        """The folder could not be read at the start. What it holds from before would now come in the wrong order."""
        _make_folder(folder)
        if any(folder.glob("*.wal")):
            raise OSError(0, "its folder came back with records of an earlier run, which are delivered after a restart")
        self._is_open = True

    def _locate(self, number: int) -> Place:
        """Behind the last record up to *number*; where that is gone, before the oldest that is there."""
        for part in self._parts():
            if number <= part.first.number:
                return part.first
            if number < part.end.number:
                place = part.first
                with suppress(OSError):  # then it is read from the part's beginning
                    for found in part.read(0, 0):
                        place = found.after if found.after.number <= number else place
                return place
        return self.end

    def _read_part(self, part: Segment | Memory, mark: Mark, most_bytes: int) -> Read:
        records: list[tuple[Place, Record]] = []
        offset = mark.offset if mark.part is part else 0
        number = mark.number
        try:
            for found in part.read(number, offset):
                if most_bytes <= 0:
                    return Read(records, Mark(number, part, offset), records[-1][0])
                entry, number, offset = found.entry, found.after.number, found.end_offset
                body = self._codec.expand(entry)
                record = Record(number, entry.kind, entry.flags, entry.items, entry.time_ns, body, entry.spans)
                records.append((found.before, record))
                most_bytes -= len(body)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EIO}:  # another one, such as too many open files, passes
                raise
            self._damage = f"a segment of the log cannot be read ({error.strerror}): its records are lost"
            log.error("%s", self._damage)  # noqa: TRY400 - where it was read from tells nothing
        if isinstance(part, Segment) and part is not self._active:
            part.close()
        return Read(records, Mark(part.end.number, part, offset), part.end)

    def _write(self, entries: Sequence[Entry], before: Place) -> None:
        """As a group. Raises OSError when the disk refuses it twice, each time in a file of its own."""
        size = size_of(entries)
        self._make_room(size)
        try:
            self._segment_for(before).append(entries, before)
        except OSError as error:
            if not self._trouble:
                log.warning("the log's disk refused a group (%s): it goes to a new segment", error.strerror)
            self._seal()
            self._segment_for(before).append(entries, before)

    def _segment_for(self, before: Place) -> Segment:
        """The active segment, or a new one that begins with the record behind *before*."""
        active = self._active
        return self._roll(before) if active is None or active.size >= self._segment_bytes else active

    def _roll(self, first: Place) -> Segment:
        self._seal()
        assert self._folder is not None
        _make_folder(self._folder)
        self._active = Segment.create(self._folder, first, self._salt())
        self._segments.append(self._active)
        return self._active

    def _seal(self) -> None:
        """Write no more to the active segment; one that holds nothing goes."""
        active, self._active = self._active, None
        if active is None:
            return
        active.seal()
        if not active.size:
            self._segments.remove(active)
            with suppress(OSError):
                active.path.unlink()

    def _keep(self, entries: Sequence[Entry], before: Place) -> None:
        dropped = self._memory.append(entries, before)
        if dropped:
            self._dropped.append(dropped)

    def _stay_in_memory(self, error: OSError) -> None:
        self._seal()
        means = "records are kept in memory" if self._keep_in_memory else "requests are refused"
        trouble = f"the log cannot be written ({error.strerror}): {means} until it can"
        if trouble != self._trouble:
            log.error("%s", trouble)
        self._trouble = trouble

    def _make_room(self, size: int) -> None:
        """For *size* bytes, and a new file's last block."""
        size += SEGMENT_BYTES + _BLOCK
        while self._aside and self._disk_bytes + size > self._room:
            path, _ = self._aside.pop(0)
            with suppress(OSError):
                path.unlink()
        while self._segments and self._disk_bytes + size > self._room:
            oldest = self._segments.pop(0)
            self._active = None if oldest is self._active else self._active
            self._dropped.append((oldest.first, oldest.end))
            self._discard(oldest)

    @property
    def _disk_bytes(self) -> int:
        return sum(segment.disk_bytes for segment in self._segments) + sum(size for _, size in self._aside)

    def _discard(self, segment: Segment) -> None:
        segment.close()
        try:
            if segment.is_damaged:
                put_damaged_aside(segment.path, self._now)
                self._look_aside()
            else:
                segment.path.unlink()
        except OSError as error:
            log.warning("a segment of the log cannot be deleted: %s", error.strerror)

    def _look_aside(self) -> None:
        assert self._folder is not None
        aside = [(path, path.stat().st_size) for path in self._folder.iterdir() if is_aside(path)]
        self._aside = sorted(aside, reverse=True)  # damaged ones first, then those of a later version


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
