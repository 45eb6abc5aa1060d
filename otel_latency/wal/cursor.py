"""How far a reader is, and what it never saw: arithmetic on places, and the small file that remembers them.

The items behind what a reader has finished are either waiting for it, or it lost them, by reason: `overflow`, when they
had to go to make room, or `corrupt`, when the disk does not give them back. Both are counted once, when that is known.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_latency.wal.format import START, Place

FILE: Final = "cursors.json"
MAX_IN_FLIGHT: Final = 8192


class Cursor:
    """What has been read comes after what is done; *done* is the place where it all begins."""

    def __init__(self, done: Place = START) -> None:
        self.done = done
        self.read = done
        self.dropped: Counter[str] = Counter()
        self._in_flight: deque[tuple[Place, int]] = deque()
        self._gaps: deque[tuple[Place, Place]] = deque()

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest record came that is read but not done."""
        return self._in_flight[0][1] if self._in_flight else None

    def queued(self, end: Place) -> int:
        """Items up to *end* that are neither done nor lost."""
        return end.items - self.done.items - sum(stop.items - start.items for start, stop in self._gaps)

    def take(self, before: Place, after: Place, time_ns: int) -> None:
        """A record was read; what should have stood before it, and is not known to be lost, is now."""
        self.reach(before)
        self.read = after
        self._in_flight.append((after, time_ns))
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._thin_out()

    def reach(self, place: Place) -> None:
        """There is nothing to be read before *place*."""
        for start, stop in list(self._gaps):
            if self.read <= start < place:
                self._lose(self.read, start, "corrupt")
                self.read = stop
        self._lose(self.read, place, "corrupt")
        self.read = max(self.read, place)

    def lose(self, start: Place, stop: Place) -> None:
        """The records between these places had to go, to make room."""
        start = max(start, self.read)
        self._lose(start, stop, "overflow")
        if start == self.read:
            self.read = max(self.read, stop)

    def commit(self, number: int) -> None:
        """The records up to *number* are done with. Those that were not read yet stay unread."""
        while self._in_flight and self._in_flight[0][0].number <= number:
            self.done = self._in_flight.popleft()[0]
        self._pass_gaps()

    def _thin_out(self) -> None:
        """Take every two records for one: they are done when the second is."""
        pairs = list(self._in_flight)
        self._in_flight = deque((second[0], first[1]) for first, second in zip(pairs[::2], pairs[1::2], strict=False))
        self._in_flight.extend(pairs[-1:] if len(pairs) % 2 else [])

    def _lose(self, start: Place, stop: Place, reason: str) -> None:
        if stop.number <= start.number:
            return
        if stop.items > start.items:
            self.dropped[reason] += stop.items - start.items
        if self._gaps and self._gaps[-1][1] == start:
            start = self._gaps.pop()[0]
        self._gaps.append((start, stop))
        self._gaps = deque(sorted(self._gaps))
        self._pass_gaps()

    def _pass_gaps(self) -> None:
        """What is lost right behind what is done needs no remembering."""
        while self._gaps and self._gaps[0][0] <= self.done:
            self.done = max(self.done, self._gaps.popleft()[1])
        self.read = max(self.read, self.done)


def load(folder: Path) -> dict[str, Place]:
    """The places that were saved; none when the file is missing or damaged. Raises OSError when it cannot be read."""
    try:
        saved = json.loads((folder / FILE).read_bytes())
        return {name: _place(*saved[name]) for name in saved}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def save(folder: Path, places: Mapping[str, Place]) -> None:
    """Replace the file, all or nothing. Raises OSError."""
    draft = folder / f"{FILE}.new"
    file = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.write(file, json.dumps(places).encode())
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    finally:
        os.close(file)
    draft.replace(folder / FILE)


def _place(number: object, items: object) -> Place:
    if not (isinstance(number, int) and isinstance(items, int) and 0 <= number < 1 << 62 and items >= 0):
        raise ValueError("no place")
    return Place(number, items)
