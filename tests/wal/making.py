"""Entries, logs and damage for the tests of the log."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from otel_latency.testing import FakeClock
from otel_latency.wal.disk import Disk
from otel_latency.wal.format import START, Codec, Entry, after, encode, scan, segment_header
from otel_latency.wal.log import Log

SALT = 0x5EED1234
NOW = 1_700_000_000.0
CODEC = Codec()


def body(number: int) -> bytes:
    """Incompressible enough that each record has a length of its own."""
    return b"body %d " % number + bytes((number * 37 + at * at) % 251 for at in range(number % 50))


def entry(number: int, *, items: int = 3, kind: int = 1, flags: int = 0, text: bytes | None = None) -> Entry:
    text = body(number) if text is None else text
    return Entry(kind, flags, items, int(NOW * 1e9) + number, len(text), CODEC.compress(text))


def group(entries, before=START, salt=SALT) -> bytes:
    """As `Segment.append` writes it."""
    data, place = b"", before
    for one in entries:
        data += encode(one, place, salt, is_first=place is before)
        place = after(place, one)
    return data


def segment(groups, before=START, salt=SALT) -> bytes:
    """A whole file."""
    data, place = segment_header(before, salt), before
    for entries in groups:
        data += group(entries, place, salt)
        for one in entries:
            place = after(place, one)
    return data


def bodies_in(data: bytes, salt: int = SALT) -> list[bytes]:
    return [CODEC.expand(found.entry) for found in scan(data, salt)]


def salts():
    """Not random, and each another."""
    numbers = count(SALT)
    return lambda: next(numbers)


def new_disk(folder: Path | None, *, max_bytes: int = 1 << 20, segment_bytes: int = 4096, keep_in_memory=True) -> Disk:
    return Disk(folder, max_bytes=max_bytes, segment_bytes=segment_bytes, keep_in_memory=keep_in_memory, salt=salts())


def put(disk: Disk, number: int, *, text: bytes | None = None, items: int = 3):
    """Append one record."""
    text = body(number) if text is None else text
    return disk.append([entry(number, items=items, text=text)])


def all_of(disk: Disk, number: int = 0) -> list:
    """Every record behind *number*, as a reader would get them."""
    from otel_latency.wal.disk import Mark

    mark, records = Mark(number), []
    while mark.number < disk.end.number:
        found = disk.read(mark, 1000)
        records += [record for _, record in found.records]
        mark = found.mark
    return records


@asynccontextmanager
async def opened(folder, readers, **options):
    """A log in use; closed after."""
    log = Log(folder, clock=options.pop("clock", None) or FakeClock(NOW), **options)
    await log.open(readers)
    try:
        yield log
    finally:
        await log.close()
