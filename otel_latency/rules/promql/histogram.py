"""`histogram_quantile` over classic buckets: one estimate per histogram, interpolated within the bucket of its rank."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache

from otel_latency.records import Labels
from otel_latency.rules.promql.arithmetic import INF, NAN, divide, is_close
from otel_latency.rules.promql.labels import Memo, dropped, get
from otel_latency.rules.promql.values import Element, Semantics, Vector

Bucket = tuple[float, float]
"""Upper bound and count; counts are cumulated."""

_BUCKET_LABEL = "le"
_TOLERANCE = 1e-12  # counts that were summed in different orders differ by rounding
_histogram_of = Memo(lambda labels: dropped(labels, (_BUCKET_LABEL,)))


def histogram_quantile(q: float, vector: Vector, semantics: Semantics) -> Vector:
    """The *q*-quantile of each histogram of *vector*, still by its name; elements without a bound are passed over."""
    histograms: dict[Labels, list[Bucket]] = {}
    for labels, count in vector:
        bound = _parsed_bound(get(labels, _BUCKET_LABEL))
        if bound is not None:
            histograms.setdefault(_histogram_of[labels], []).append((bound, count))
    return [Element(labels, bucket_quantile(q, buckets, semantics)) for labels, buckets in histograms.items()]


def bucket_quantile(q: float, buckets: list[Bucket], semantics: Semantics) -> float:
    """The *q*-quantile of one histogram; NaN when it lacks the bucket to +Inf, or counts nothing."""
    if q != q:  # noqa: PLR0124 - NaN
        return NAN
    if not 0 <= q <= 1:
        return -INF if q < 0 else INF
    bounds, counts = _merged(buckets)
    if bounds[-1] != INF:
        return NAN
    _make_monotonic(counts, semantics)
    if len(counts) < 2 or counts[-1] == 0:
        return NAN
    return _interpolated(q * counts[-1], bounds, counts)


def _interpolated(rank: float, bounds: list[float], counts: list[float]) -> float:
    """The place of *rank* in its bucket, taking what is inside as evenly spread; the lowest bucket starts at zero."""
    last = len(bounds) - 1
    place = bisect_left(range(last), x=True, key=lambda place: counts[place] >= rank)  # a search that NaN may mislead
    if place == last:
        return bounds[last - 1]
    if place == 0:
        return bounds[0] * divide(rank, counts[0]) if bounds[0] > 0 else bounds[0]
    low, below = bounds[place - 1], counts[place - 1]
    return low + (bounds[place] - low) * divide(rank - below, counts[place] - below)


def _merged(buckets: list[Bucket]) -> tuple[list[float], list[float]]:
    """Bounds, ascending, and counts; buckets of one bound are added up."""
    counts: dict[float, float] = {}
    for bound, count in buckets:
        counts[bound] = counts[bound] + count if bound in counts else count
    bounds = sorted(counts)
    return bounds, [counts[bound] for bound in bounds]


def _make_monotonic(counts: list[float], semantics: Semantics) -> None:
    """Lift counts that are below the one before; version 3 also levels those that differ from it by rounding alone."""
    before = counts[0]
    for place, count in enumerate(counts):
        if count < before or (semantics == 3 and is_close(before, count, _TOLERANCE)):
            counts[place] = before
        elif count > before or semantics == 3:  # version 2 passes over NaN
            before = count


@lru_cache(maxsize=4096)
def _parsed_bound(text: str) -> float | None:
    if "_" in text or text != text.strip():  # which Python takes, and Go does not
        return None
    try:
        return float(text)
    except ValueError:
        return None
