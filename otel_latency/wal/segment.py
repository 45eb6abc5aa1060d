"""One file of the log: written at its end by one thread, read from anywhere by the same.

`append` returns when what it wrote is on the disk, the file's own name included. When it raises OSError nothing is
known of the file's end: what was written before stays valid, but the segment is to be sealed, and the group to be
written to another one. To sync again would not do: after a failed fsync the kernel may call lost pages clean.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_latency.wal.format import (
    RECORD_BYTES,
    SEGMENT_BYTES,
    Entry,
    Found,
    Place,
    after,
    encode,
    scan,
    segment_header,
    segment_name,
)

PIECE_BYTES: Final = 256 << 10
_BLOCK: Final = 4096


class Segment:
    """The records between *first* and *end*, in the first *size* bytes of the file at *path*."""

    def __init__(self, path: Path, salt: int, first: Place, end: Place, size: int, *, is_damaged: bool = False) -> None:
        self.path = path
        self.first = first
        self.end = end
        self.size = size
        self.is_damaged = is_damaged
        self._salt = salt
        self._file: int | None = None

    @classmethod
    def create(cls, folder: Path, first: Place, salt: int) -> Segment:
        """A new file, durable with the first `append`. Raises OSError."""
        segment = cls(folder / segment_name(first.number + 1, salt), salt, first, first, 0)
        segment._file = os.open(segment.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        return segment

    @property
    def disk_bytes(self) -> int:
        """What it takes of the disk, in whole blocks."""
        return -(-self.size // _BLOCK) * _BLOCK

    def append(self, entries: Sequence[Entry], before: Place) -> None:
        """Write a group whose first entry stands behind *before*. Raises OSError."""
        assert self._file is not None
        is_new = not self.size
        parts = [segment_header(self.first, self._salt)] if is_new else []
        place = before
        for entry in entries:
            parts.append(encode(entry, place, self._salt, is_first=place is before))
            place = after(place, entry)
        written = _write(self._file, b"".join(parts), self.size)
        os.fdatasync(self._file)
        if is_new:
            sync_folder(self.path.parent)
        if not os.fstat(self._file).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the file was removed while it was written")
        self.size += written
        self.end = place

    def read(self, number: int, offset: int) -> Iterator[Found]:
        """The records behind *number*; none of them stands before *offset*. Raises OSError.

        The file is read by pieces of `PIECE_BYTES`, as the records are asked for: whoever wants a few does not wait for
        all. A piece that ends before its first record does is read again, twice as long.
        """
        begin, length = max(offset, SEGMENT_BYTES), PIECE_BYTES
        while begin < self.size:
            end = 0
            for found in scan(self._bytes(begin, length), self._salt):
                end = found.end_offset
                if number <= found.before.number < self.end.number:
                    yield Found(found.entry, found.before, found.is_first, found.offset + begin, end + begin)
            if begin + length >= self.size:
                return
            begin, length = (begin + end, PIECE_BYTES) if end else (begin, 2 * length)

    def seal(self) -> None:
        """Cut off what a failed `append` may have left; nothing more is appended. Raises nothing."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
        self.close()

    def close(self) -> None:
        """Reading opens it again."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _bytes(self, offset: int, length: int) -> bytes:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY)
        return os.pread(self._file, min(length, self.size - offset), offset)


def size_of(entries: Sequence[Entry]) -> int:
    """What a group takes, and the header of a segment."""
    return SEGMENT_BYTES + sum(RECORD_BYTES + len(entry.payload) for entry in entries)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(file: int, data: bytes, offset: int) -> int:
    """All of it: a disk that is nearly full, or a limit, takes a part and refuses the rest."""
    view = memoryview(data)
    done = 0
    while done < len(data):
        done += os.pwrite(file, view[done:], offset + done)
    return done
