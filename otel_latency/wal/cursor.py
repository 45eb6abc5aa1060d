"""How far a reader is, and what it never saw: arithmetic on places, and the small files that remember them.

The items behind what a reader has finished are either waiting for it, or it lost them, by reason: `overflow`, when they
had to go to make room, or `corrupt`, when the disk does not give them back. Both are counted once, when that is known.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_latency.wal.format import START, Place

FILE: Final = "cursors.json"
"""Survives everything, and may be old."""
NOTE: Final = "cursors.note"
"""Is up to date after the end of the process, and may be missing or torn after that of the machine."""
MAX_IN_FLIGHT: Final = 8192
OVERFLOW, CORRUPT = "overflow", "corrupt"


class Cursor:
    """What has been read comes after what is done; *done* is the place where it all begins."""

    def __init__(self, done: Place = START) -> None:
        self.done = done
        self.read = done
        self.dropped: Counter[str] = Counter()
        self.dropped_spans: Counter[str] = Counter()
        """Those of them that are spans."""
        self._in_flight: deque[tuple[Place, int]] = deque()
        self._gaps: deque[tuple[Place, Place]] = deque()

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest record came that is read but not done."""
        return self._in_flight[0][1] if self._in_flight else None

    def queued(self, end: Place) -> int:
        """Items up to *end* that are neither done nor lost."""
        return end.items - self.done.items - sum(stop.items - start.items for start, stop in self._gaps)

    def queued_spans(self, end: Place) -> int:
        """Those of them that are spans."""
        return end.spans - self.done.spans - sum(stop.spans - start.spans for start, stop in self._gaps)

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
                self._lose(self.read, start, CORRUPT)
                self.read = stop
        self._lose(self.read, place, CORRUPT)
        self.read = max(self.read, place)

    def lose(self, start: Place, stop: Place) -> None:
        """The records between these places had to go, to make room."""
        start = max(start, self.read)
        self._lose(start, stop, OVERFLOW)
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
        if stop.spans > start.spans:
            self.dropped_spans[reason] += stop.spans - start.spans
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
    """The places that were saved or noted; none when the files are missing or damaged. Raises OSError when they cannot
    be read.
    """
    places = _read(folder / FILE)
    for name, place in _read(folder / NOTE, is_checked=True).items():
        places[name] = max(place, places.get(name, START))
    return places


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


def note(folder: Path, places: Mapping[str, Place]) -> None:
    """Overwrite the note, without waiting for the disk. Raises OSError."""
    text = json.dumps(places).encode()
    file = os.open(folder / NOTE, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.pwrite(file, b"%08x%b\n" % (zlib.crc32(text), text), 0)
    finally:
        os.close(file)


def _read(path: Path, *, is_checked: bool = False) -> dict[str, Place]:
    try:
        text = path.read_bytes()
        if is_checked:
            crc, text = int(text[:8], 16), text[8:].partition(b"\n")[0]
            if crc != zlib.crc32(text):
                return {}
        saved = json.loads(text)
        return {name: _place(*saved[name]) for name in saved}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _place(number: object, items: object, spans: object) -> Place:
    if not (isinstance(number, int) and isinstance(items, int) and isinstance(spans, int)):
        raise TypeError("no place")
    if not (0 <= number < 1 << 62 and 0 <= spans <= items):
        raise ValueError("no place")
    return Place(number, items, spans)
