r"""What a segment of the log looks like, byte for byte; nothing here touches a file.

    segment   0000000000000000001-5eed1234.wal: the number of its first record, and its salt
      header  44 bytes  "otlpwal\n" version:u16 0:u16 salt:u32 number:u64 items:u64 spans:u64 crc:u32
      record  64 bytes  "\xf5rec" crc:u32 stored:u32 size:u32 payload_crc:u32 kind:u8 flags:u8 is_first:u8 0:u8
                        items:u32 spans:u32 number:u64 items_before:u64 spans_before:u64 time_ns:i64
              stored    the body, a zstandard frame

Numbers are little-endian. Records are numbered from 1 without gaps, and `items_before` counts the items of all records
before, and `spans_before` those of them that are spans, so that what is missing between two records is known to the
item, however it went missing. `is_first` marks the first record of a group: what was written and synced at once.

Every CRC-32 begins with the salt, a random number of the segment that no sender of bodies knows. So a body cannot hold
what would be taken for a record when damage makes us look for the next one. The salt stands in the file's name as well:
a damaged header costs nothing.

Cost: 2 us to check a record, and 0.15 ms for each MB of it; compressing 1 MB takes 0.35 ms, to a sixth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

VERSION: Final = 1
LEVEL: Final = -3
WINDOW_LOG: Final = 18
HASH_LOG: Final = 14
"""Tables that stay in a core's cache: those of the level take a fifth more time, for a hundredth less to write."""
LOCKED_BYTES: Final = 5 << 10
"""The most for which `zlib.crc32` keeps the interpreter's lock."""
_MAGIC: Final = b"otlpwal\n"
_MARK: Final = b"\xf5rec"
_SEGMENT: Final = Struct("<8sHHIQQQ")
_RECORD: Final = Struct("<4sIIIIBB?xIIQQQq")
_CRC: Final = Struct("<I")
SEGMENT_BYTES: Final = _SEGMENT.size + _CRC.size
RECORD_BYTES: Final = _RECORD.size
_NAME: Final = re.compile(r"(\d{19})-([0-9a-f]{8})\.wal")
_LAST_NUMBER: Final = 1 << 62


class Place(NamedTuple):
    """A place in the log: after the record of this number, when so many items, some of them spans, have passed."""

    number: int
    items: int
    spans: int = 0


START: Final = Place(0, 0)


class Entry(NamedTuple):
    """A record without its place: *payload* is a body of *size* bytes, compressed."""

    kind: int
    flags: int
    items: int
    time_ns: int
    size: int
    payload: bytes | memoryview
    spans: int = 0


class Found(NamedTuple):
    """An intact record, and where it stands in its segment."""

    entry: Entry
    before: Place
    is_first: bool
    offset: int
    end_offset: int

    @property
    def after(self) -> Place:
        return after(self.before, self.entry)


class SegmentName(NamedTuple):
    """What a file name tells."""

    number: int
    salt: int


def after(before: Place, entry: Entry) -> Place:
    """The place behind *entry*, when it stands behind *before*."""
    return Place(before.number + 1, before.items + entry.items, before.spans + entry.spans)


def segment_name(number: int, salt: int) -> str:
    return f"{number:019}-{salt:08x}.wal"


def parse_name(name: str) -> SegmentName | None:
    """None when no segment is called so."""
    match = _NAME.fullmatch(name)
    if match is None or not 0 < int(match[1]) < _LAST_NUMBER:
        return None
    return SegmentName(int(match[1]), int(match[2], 16))


def segment_header(before: Place, salt: int) -> bytes:
    """The beginning of the segment behind *before*."""
    head = _SEGMENT.pack(_MAGIC, VERSION, 0, salt, before.number + 1, before.items, before.spans)
    return head + _CRC.pack(crc32(head, salt))


def parse_header(data: bytes, salt: int) -> tuple[int, Place] | None:
    """The version of a segment, and the place that it begins at; None when the header is damaged."""
    if len(data) < SEGMENT_BYTES:
        return None
    magic, version, _, _, number, items, spans = _SEGMENT.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _SEGMENT.size)
    if magic != _MAGIC or crc != crc32(data[: _SEGMENT.size], salt):
        return None
    return version, Place(number - 1, items, spans)


def encode(entry: Entry, before: Place, salt: int, *, is_first: bool) -> bytes:
    """A whole record."""
    rest = _RECORD.pack(
        _MARK,
        0,
        len(entry.payload),
        entry.size,
        _payload_crc(entry.payload, salt),
        entry.kind,
        entry.flags,
        is_first,
        entry.items,
        entry.spans,
        before.number + 1,
        before.items,
        before.spans,
        entry.time_ns,
    )[8:]
    return b"".join((_MARK, _CRC.pack(crc32(rest, salt)), rest, entry.payload))


def _payload_crc(payload: bytes | memoryview, salt: int) -> int:
    """The CRC, by pieces for which Python's lock is kept: to let go of it costs a busy loop more than the CRC does."""
    view = memoryview(payload)
    crc = salt
    for start in range(0, len(view), LOCKED_BYTES):
        crc = crc32(view[start : start + LOCKED_BYTES], crc)
    return crc


def scan(data: bytes, salt: int) -> Iterator[Found]:
    """The intact records of *data*, in order; where they do not touch, there is damage between them.

    After damage the search goes on at the next mark. As a header has a CRC of its own, a false mark costs a
    microsecond, and a damaged body costs no search.
    """
    view = memoryview(data)
    offset = data.find(_MARK)
    while 0 <= offset <= len(data) - RECORD_BYTES:
        mark, crc, stored, size, body_crc, kind, flags, is_first, *counts, time_ns = _RECORD.unpack_from(data, offset)
        body = offset + RECORD_BYTES
        if mark != _MARK or crc != crc32(view[offset + 8 : body], salt):
            offset = data.find(_MARK, offset + 1)
            continue
        end = body + stored
        payload = view[body:end]
        if end <= len(data) and body_crc == crc32(payload, salt):
            items, spans, number, items_before, spans_before = counts
            entry = Entry(kind, flags, items, time_ns, size, payload, spans)
            yield Found(entry, Place(number - 1, items_before, spans_before), is_first, offset, end)
        offset = end


class Codec:
    """Compresses bodies, on one thread, and expands them, on one. zstandard is loaded with the first of them."""

    def compress(self, body: bytes) -> bytes:
        compressed: bytes = self._compressor.compress(body)
        return compressed

    def expand(self, entry: Entry) -> bytes:
        """The body. Never larger than what the record says, whose CRC was right."""
        body: bytes = self._decompressor.decompress(entry.payload, max_output_size=entry.size)
        return body

    @cached_property
    def _compressor(self) -> ZstdCompressor:
        from zstandard import ZstdCompressionParameters, ZstdCompressor

        tables = {"window_log": WINDOW_LOG, "hash_log": HASH_LOG}
        return ZstdCompressor(compression_params=ZstdCompressionParameters.from_level(LEVEL, **tables))

    @cached_property
    def _decompressor(self) -> ZstdDecompressor:
        from zstandard import ZstdDecompressor

        return ZstdDecompressor()
