"""The state of a predictor as bytes: per part its names, its numbers as doubles and its windows as singles.

magic, then for each part: length of the head, head (JSON: names, count of numbers, lengths of the windows),
numbers, windows; little-endian.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

MAGIC: Final = b"otel-latency predictor 2\n"
_LENGTH: Final = struct.Struct("<I")


class Part(Protocol):
    """Something with a state."""

    def numbers(self) -> list[float]: ...

    def arrays(self) -> list[array[float]]: ...

    def restore(self, numbers: list[float], arrays: Sequence[array[float]]) -> None: ...


def pack(parts: Iterable[tuple[list[str], Part]]) -> bytes:
    chunks = [MAGIC]
    for names, part in parts:
        numbers, arrays = array("d", part.numbers()), part.arrays()
        head = json.dumps([names, len(numbers), [len(each) for each in arrays]], separators=(",", ":")).encode()
        chunks += (_LENGTH.pack(len(head)), head, _bytes(numbers), *map(_bytes, arrays))
    return b"".join(chunks)


def unpack(data: bytes) -> Iterator[tuple[list[str], list[float], list[array[float]]]]:
    """Names, numbers and windows of each part. Raises ValueError where the bytes are no such state."""
    if not data.startswith(MAGIC):
        raise ValueError("this is no state of a predictor, or one of another version")
    place = len(MAGIC)
    try:
        while place < len(data):
            (length,) = _LENGTH.unpack_from(data, place)
            place += _LENGTH.size
            names, count, lengths = json.loads(data[place : place + length])
            place += length
            numbers = _array("d", data, place, count)
            place += 8 * count
            arrays = []
            for each in lengths:
                arrays.append(_array("f", data, place, each))
                place += 4 * each
            yield names, list(numbers), arrays
    except (struct.error, TypeError, ValueError) as error:
        raise ValueError(f"the state of a predictor is damaged at byte {place}") from error


def _array(kind: str, data: bytes, place: int, count: int) -> array[float]:
    values: array[float] = array(kind)
    wanted = data[place : place + count * values.itemsize]
    if len(wanted) != count * values.itemsize:
        raise ValueError("it ends too early")
    values.frombytes(wanted)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _bytes(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
