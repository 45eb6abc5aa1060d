"""Quantiles of a stream in bounded memory: OpenTelemetry's base-2 exponential buckets at scale 6.

Bucket k holds the values in (2^((k-1)/64), 2^(k/64)]; the harmonic midpoint of its bounds is within 0.5416 % of
every value inside (relative error (g-1)/(g+1) with g = 2^(1/64)). Up to `EXACT_LIMIT` values are kept as they
are, and then quantiles are exact. Merging adds counts, so any order of merging gives the same buckets.
The buckets are those of an OTLP ExponentialHistogram of scale 6 and of a Prometheus native histogram of schema 6.

Cost: about 0.1 us per value. Memory: 8 bytes per exact value; then 8 bytes per bucket between the smallest and the
largest value (half a KiB an octave), or 12 per bucket that is not empty once packed.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil, isfinite, log2
from struct import Struct
from typing import Any

from otel_latency.native import add_at, count_buckets, summarise

SCALE = 6
EXACT_LIMIT = 250
WRITTEN_EXACT = 12
"""Up to as many values are written as they are, which is then the shorter form."""
_PER_OCTAVE = 1 << SCALE
_MIDPOINT = 2 / (1 + 2 ** (1 / _PER_OCTAVE))  # of a bucket's upper bound: 2 * low * high / (low + high)
_VALUES, _BUCKETS = b"v", b"b"  # the first byte of a written sketch
_HEAD = Struct("<cQdddiI")  # form, count, sum, minimum, maximum, index of the first bucket, number of buckets
_MOST_BUCKETS = 2100 * _PER_OCTAVE  # from the smallest double to the largest


def bucket_index(value: float) -> int:
    """The bucket of a positive finite value: the k with 2^((k-1)/64) < value <= 2^(k/64)."""
    return ceil(log2(value) * _PER_OCTAVE)


def bucket_bounds(index: int) -> tuple[float, float]:
    """Lower (exclusive) and upper (inclusive) bound of bucket *index*."""
    return 2.0 ** ((index - 1) / _PER_OCTAVE), 2.0 ** (index / _PER_OCTAVE)


class Buckets:
    """Counts of neighbouring buckets: `counts[i]` is that of bucket `offset + i`. 8 bytes each, empty ones included."""

    __slots__ = ("counts", "offset")

    def __init__(self, offset: int = 0, counts: array[int] | None = None) -> None:
        self.offset = offset
        self.counts = array("q") if counts is None else counts

    @classmethod
    def of(cls, values: array[float]) -> Buckets:
        """The buckets of *values*; those at or below zero are in none."""
        return cls(*count_buckets(values))

    def add(self, other: Buckets, sign: int = 1) -> None:
        """Add the counts of *other*, or with *sign* -1 take them away again."""
        if other.counts:
            self._cover(other.offset, other.offset + len(other.counts))
            add_at(self.counts, other.offset - self.offset, other.counts, sign)

    def increment(self, index: int) -> None:
        """Count one more in bucket *index*."""
        place = index - self.offset
        if 0 <= place < len(self.counts):
            self.counts[place] += 1
        else:
            self.add(Buckets(index, array("q", [1])))

    def total(self) -> int:
        return sum(self.counts)

    def items(self) -> Iterable[tuple[int, int]]:
        """(index, count) of each bucket that is not empty, ascending."""
        return ((index, count) for index, count in enumerate(self.counts, self.offset) if count)

    def at_ranks(self, zero_count: int, ranks: Sequence[int]) -> list[float]:
        """The values at 1-based *ranks*: the harmonic midpoint of the bucket that holds each.

        *zero_count* values at or below zero come first, as 0. No rank may exceed the number of values.
        """
        running = list(accumulate(self.counts, initial=zero_count))
        places = [bisect_left(running, rank) - 1 for rank in ranks]
        return [bucket_bounds(self.offset + place)[1] * _MIDPOINT if place >= 0 else 0.0 for place in places]

    def copy(self) -> Buckets:
        return Buckets(self.offset, self.counts[:])

    def _cover(self, low: int, high: int) -> None:
        if not self.counts:
            self.offset = low
        if low < self.offset:
            self.counts = _zeros(self.offset - low) + self.counts
            self.offset = low
        missing = high - self.offset - len(self.counts)
        if missing > 0:
            self.counts += _zeros(missing)


def _zeros(count: int) -> array[int]:
    return array("q", bytes(8 * count))


class Sketch:
    """A mergeable summary of durations (any finite numbers; those at or below zero share one bucket).

    `count`, `sum`, `minimum` and `maximum` are exact at any size. `values` holds the values while there are at most
    `EXACT_LIMIT`; afterwards it is empty and `bucket_counts()` tells the rest.
    """

    __slots__ = ("_buckets", "_counted", "_packed", "count", "maximum", "minimum", "sum", "values", "zero_count")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values: array[float] = array("d")
        self.zero_count = 0
        self.count = 0
        self.sum = 0.0
        self.minimum = float("inf")
        self.maximum = float("-inf")
        self._buckets: Buckets | None = None
        self._packed: tuple[array[int], array[int]] | None = None
        self._counted: Buckets | None = None  # the buckets of exact values, once somebody asked for them
        if values:
            self.extend(values)

    @property
    def is_exact(self) -> bool:
        """Whether every value is still known."""
        return self._buckets is None and self._packed is None

    def add(self, value: float) -> None:
        """Count one value. Raises ValueError when it is not finite."""
        if not isfinite(value):
            raise ValueError(f"{value!r} is not a finite number")
        self.count += 1
        self.sum += value
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        buckets = self._buckets
        if buckets is None and self._packed is None:
            self._counted = None
            self.values.append(value)
            if self.count > EXACT_LIMIT:
                self._to_buckets()
        elif value > 0:
            (buckets or self._to_buckets()).increment(ceil(log2(value) * _PER_OCTAVE))
        else:
            self.zero_count += 1

    def extend(self, values: Iterable[float]) -> None:
        """Count many values at once; cheaper than `add` for each. Raises ValueError before it takes any."""
        values = array("d", values)
        total, minimum, maximum = summarise(values)
        self.count += len(values)
        self.sum += total
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)
        self.values += values
        self._counted = None
        if self.count > EXACT_LIMIT or not self.is_exact:
            self._to_buckets()

    def merge(self, other: Sketch) -> None:
        """Add what *other* counted; *other* is left as it was."""
        if not other.count:
            return
        self.count += other.count
        self.sum += other.sum
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        if self.count <= EXACT_LIMIT and self.is_exact and other.is_exact:
            self.values += other.values
            self._counted = None
        else:
            self._to_buckets().add(other.buckets())
            self.zero_count += other.non_positive_count()

    def quantile(self, q: float) -> float:
        """The value at rank ceil(q * count): exact up to `EXACT_LIMIT` values, within 0.55 % beyond.

        Raises ValueError for q outside 0..1. An empty sketch has no quantile: NaN.
        """
        return self.quantiles((q,))[0]

    def quantiles(self, qs: Sequence[float]) -> list[float]:
        """Several quantiles, *qs* in ascending order, in one pass over the buckets."""
        for q in qs:
            if not 0.0 <= q <= 1.0:
                raise ValueError(f"quantile {q!r} is not between 0 and 1")
        if not self.count:
            return [float("nan")] * len(qs)
        ranks = [nearest_rank(q, self.count) for q in qs]
        if self.is_exact:
            ordered = sorted(self.values)
            return [ordered[rank - 1] for rank in ranks]
        estimates = self.buckets().at_ranks(self.zero_count, ranks)
        return [min(max(value, self.minimum), self.maximum) for value in estimates]

    def buckets(self) -> Buckets:
        """The buckets, in whichever form the values are kept; without the zero bucket. Not to be changed."""
        if self._buckets is not None:
            return self._buckets
        if self._packed is not None:
            return _unpacked(*self._packed)
        if self._counted is None:
            self._counted = Buckets.of(self.values)
        return self._counted

    def bucket_counts(self) -> dict[int, int]:
        """Counts by bucket index, of the buckets that are not empty."""
        return dict(self.buckets().items())

    def non_positive_count(self) -> int:
        """How many values were zero or below."""
        return self.zero_count if self.minimum > 0 or not self.values else sum(value <= 0 for value in self.values)

    def pack(self) -> None:
        """Take an eighth of the room; for sketches that will be read and merged more than added to."""
        if self._buckets is not None:
            pairs = list(self._buckets.items())
            self._packed = array("i", [index for index, _ in pairs]), array("q", [count for _, count in pairs])
            self._buckets = None

    def to_bytes(self) -> bytes:
        """Written to be kept: 8 bytes a value up to `WRITTEN_EXACT`, beyond that 45 and about 2 bits a bucket.

        Buckets stand one after the other, all their lowest bytes first: few others are not zero.
        """
        if self.is_exact and self.count <= WRITTEN_EXACT:
            return _VALUES + _little_endian(self.values)
        buckets = self.buckets()
        raw = _little_endian(buckets.counts)
        width = (max(buckets.counts, default=0).bit_length() + 7) // 8
        planes = [raw[place::8] for place in range(width)]
        size = len(buckets.counts)
        head = _HEAD.pack(_BUCKETS, self.count, self.sum, self.minimum, self.maximum, buckets.offset, size)
        deflate = zlib.compressobj(6, zlib.DEFLATED, -9, 4, zlib.Z_RLE)  # the smallest window: it finds runs alone
        return head + deflate.compress(b"".join(planes)) + deflate.flush()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        try:
            return cls._values_from(data) if data[:1] == _VALUES else cls._buckets_from(data)
        except zlib.error as error:
            raise ValueError("these bytes are no sketch") from error

    @classmethod
    def _values_from(cls, data: bytes) -> Sketch:
        return cls(_from_little_endian("d", data[1:]))

    @classmethod
    def _buckets_from(cls, data: bytes) -> Sketch:
        if len(data) < _HEAD.size:
            raise ValueError("these bytes are no sketch")
        sketch = cls()
        form, sketch.count, sketch.sum, sketch.minimum, sketch.maximum, offset, size = _HEAD.unpack_from(data)
        if form != _BUCKETS or size > _MOST_BUCKETS:
            raise ValueError("these bytes are no sketch")
        inflate = zlib.decompressobj(-9)
        planes = inflate.decompress(data[_HEAD.size :], 8 * size + 1)
        counts = bytearray(8 * size)
        for place in range(len(planes) // size if size else 0):
            counts[place::8] = planes[place * size : (place + 1) * size]
        sketch._buckets = Buckets(offset, _from_little_endian("q", counts))
        sketch.zero_count = sketch.count - sketch._buckets.total()
        if not inflate.eof or sketch.zero_count < 0:
            raise ValueError("these bytes are no sketch")
        return sketch

    def copy(self) -> Sketch:
        """An independent sketch with the same content."""
        twin = Sketch()
        twin.merge(self)
        return twin

    def _to_buckets(self) -> Buckets:
        if self._buckets is None:
            self._buckets = _unpacked(*self._packed) if self._packed else Buckets()
            self._packed = None
        if self.values:
            added = Buckets.of(self.values)
            self.zero_count += len(self.values) - added.total()
            self._buckets.add(added)
            self.values = array("d")
            self._counted = None
        return self._buckets

    def __repr__(self) -> str:
        return f"Sketch(count={self.count}, sum={self.sum:g}, minimum={self.minimum:g}, maximum={self.maximum:g})"


def _little_endian(numbers: array[float] | array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _from_little_endian(typecode: str, data: bytes | bytearray) -> array[Any]:
    numbers = array(typecode, bytes(data))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def nearest_rank(q: float, count: int) -> int:
    """The 1-based rank of quantile *q* among *count* values: the smallest r with r / count >= q."""
    return max(1, ceil(q * count - 1e-9))  # 0.07 * 100 is a little more than 7


def _unpacked(indexes: array[int], counts: array[int]) -> Buckets:
    buckets = Buckets(indexes[0], _zeros(indexes[-1] - indexes[0] + 1)) if indexes else Buckets()
    for index, count in zip(indexes, counts, strict=True):
        buckets.counts[index - buckets.offset] = count
    return buckets
