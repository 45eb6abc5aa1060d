"""Records that have no place on a disk: as a segment, but in memory, bounded, and gone when the process is.

They stay compressed. When there are too many the oldest go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from otel_latency.wal.format import RECORD_BYTES, Entry, Found, Place, after


class Memory:
    """The records between *first* and *end*, of which those before `dropped` are gone."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._records: deque[tuple[Place, Entry]] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> Place:
        return self._records[0][0]

    @property
    def end(self) -> Place:
        return after(*self._records[-1])

    def append(self, entries: Sequence[Entry], before: Place) -> tuple[Place, Place] | None:
        """Keep a group whose first entry stands behind *before*. The answer is the stretch that had to go for it."""
        for entry in entries:
            self._records.append((before, entry))
            self.size += _size(entry)
            before = after(before, entry)
        begin = end = self.first
        while self.size > self._max_bytes:
            end = self._forget_oldest()
        return (begin, end) if begin != end else None

    def read(self, number: int, _offset: int) -> Iterator[Found]:
        """The records behind *number*."""
        start = bisect_right(self._records, number, key=lambda record: record[0].number + 1)
        for before, entry in islice(self._records, start, None):
            yield Found(entry, before, False, 0, 0)

    def oldest(self, size: int) -> list[Entry]:
        """The first ones, about *size* bytes of them and never none."""
        chosen: list[Entry] = []
        for _, entry in self._records:
            chosen.append(entry)
            size -= _size(entry)
            if size <= 0:
                break
        return chosen

    def forget(self, number: int) -> None:
        """Let go of the records up to *number*."""
        while self._records and self.first.number < number:
            self._forget_oldest()

    def _forget_oldest(self) -> Place:
        before, entry = self._records.popleft()
        self.size -= _size(entry)
        return after(before, entry)


def _size(entry: Entry) -> int:
    return RECORD_BYTES + len(entry.payload)
