"""Data points out of an OTLP metrics request, one by one, so that a bad point costs one point.

What a point says is taken as it is (`MetricPoint`): names are translated and deltas summed by whoever aggregates. A
point is refused when it cannot be shown honestly: a value that is not finite, buckets that do not add up to the count,
a sum of unknown temporality.

Cost: about 15 us a point in protobuf, 20 to 50 us in JSON. Limits: `wire`'s, and 1,024 buckets a point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import isfinite
from typing import Any, Final

from msgspec import Raw

from otel_latency.ingest.text import NAME_LIMIT, clean
from otel_latency.ingest.wire import (
    MAX_ATTRIBUTES,
    MAX_ITEMS,
    MAX_TIME_NS,
    ItemError,
    ProtoWalk,
    Quota,
    Rejected,
    attributes,
    from_proto,
)
from otel_latency.ingest.wire_json import (
    Double,
    Int64,
    KeyValue,
    Message,
    from_json,
    json_keys,
    json_resource,
    json_scope,
    parse_json,
)
from otel_latency.records import MetricKind, MetricPoint, Resource

MAX_BUCKETS: Final = 1024
MAX_COUNT: Final = 1 << 53
"""Beyond it a count is no longer exact in anything that reads our exposition."""
SCALES: Final = range(-4, 21)
"""Below -4 Prometheus has no schema; above 20 a bucket is narrower than a double can tell."""

_DELTA, _CUMULATIVE = 1, 2
_NO_RECORDED_VALUE = 1


@dataclass(frozen=True, slots=True)
class _Metric:
    """What the points of one metric share; `fault` is why none of them can be taken, or empty."""

    resource: Resource
    name: str
    unit: str
    description: str
    kind: MetricKind
    is_delta: bool
    is_monotonic: bool
    fault: str = ""


_Item = tuple[_Metric, memoryview | Raw]


def decode_metrics(body: bytes, *, is_json: bool) -> tuple[list[MetricPoint], Rejected]:
    """The points of an ExportMetricsServiceRequest and how many were refused, by reason.

    Raises DecodeError when the body cannot be read as a whole, BodyTooLarge when it holds too many points.
    """
    points: list[MetricPoint] = []
    rejected = Rejected()
    quota = Quota(MAX_ITEMS, "data points")
    for metric, item in _json_items(body) if is_json else _proto_items(body):
        quota.take()
        try:
            points.append(_point(metric, item))
        except ItemError as reason:
            rejected[str(reason)] += 1
    return points, rejected


def _point(metric: _Metric, item: memoryview | Raw) -> MetricPoint:
    _require(not metric.fault, metric.fault)
    message: Any
    if isinstance(item, Raw):
        message = from_json(_JSON_POINTS[metric.kind], item)
    else:
        message = from_proto(_proto_points()[metric.kind], item)
    pairs = message.attributes or ()
    _require(len(pairs) <= MAX_ATTRIBUTES, "too_many_attributes")
    measured = _MEASURED[metric.kind](message)
    _require(not metric.is_monotonic or measured["value"] >= 0, "negative_counter")
    return MetricPoint(
        name=metric.name,
        unit=metric.unit,
        description=metric.description,
        kind=metric.kind,
        resource=metric.resource,
        attributes=attributes(pairs, NAME_LIMIT),
        start_ns=_time(message.start_time_unix_nano),
        time_ns=_time(message.time_unix_nano),
        is_monotonic=metric.is_monotonic,
        is_delta=metric.is_delta,
        no_recorded_value=bool((message.flags or 0) & _NO_RECORDED_VALUE),
        **measured,
    )


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ItemError(reason)


def _time(nanoseconds: int) -> int:
    return min(max(nanoseconds, 0), MAX_TIME_NS)


# What each kind of point measured. The messages are of either encoding; an absent field reads as zero.


def _number(point: Any) -> dict[str, Any]:
    value = float(point.as_double or point.as_int)
    _require(isfinite(value), "not_finite")
    return {"value": value}


def _histogram(point: Any) -> dict[str, Any]:
    bounds, counts = tuple(point.explicit_bounds or ()), tuple(point.bucket_counts or ())
    _require(len(counts) <= MAX_BUCKETS, "too_many_buckets")
    if counts:
        _require(len(counts) == len(bounds) + 1, "inconsistent_buckets")
        _require(_adds_up(point, counts), "inconsistent_buckets")
        _require(all(map(isfinite, bounds)) and all(a < b for a, b in pairwise(bounds)), "inconsistent_buckets")
    else:  # legal: only a count and a sum
        bounds = ()
    return {**_count_and_sum(point), "bounds": bounds, "bucket_counts": counts}


def _exponential(point: Any) -> dict[str, Any]:
    scale = int(point.scale or 0)
    _require(scale in SCALES, "unsupported_scale")
    positive, negative = _indexed(point.positive, scale), _indexed(point.negative, scale)
    zero_count = int(point.zero_count) + sum(negative.values())
    _require(_adds_up(point, (zero_count, *positive.values())), "inconsistent_buckets")
    return {**_count_and_sum(point), "scale": scale, "zero_count": zero_count, "buckets": positive}


def _indexed(buckets: Any, scale: int) -> dict[int, int]:
    """The occupied buckets by OTLP index; refused where one lies outside the range of a double."""
    if buckets is None or not buckets.bucket_counts:
        return {}
    _require(len(buckets.bucket_counts) <= MAX_BUCKETS, "too_many_buckets")
    counts = {index: int(n) for index, n in enumerate(buckets.bucket_counts, int(buckets.offset or 0)) if n}
    octaves = [index * 2.0**-scale for index in counts]
    _require(all(-1075 <= octave < 1024 for octave in octaves), "inconsistent_buckets")
    return counts


def _summary(point: Any) -> dict[str, Any]:
    # A summary over no observations has NaN for quantiles: those are left out, count and sum still stand.
    quantiles = [(float(q.quantile), float(q.value)) for q in point.quantile_values or ()]
    _require(len(quantiles) <= MAX_BUCKETS, "too_many_buckets")
    kept = tuple(sorted({q: value for q, value in quantiles if 0.0 <= q <= 1.0 and isfinite(value)}.items()))
    return {**_count_and_sum(point), "quantiles": kept}


def _count_and_sum(point: Any) -> dict[str, Any]:
    total = float(point.sum or 0.0)
    _require(isfinite(total), "not_finite")
    _require(0 <= point.count <= MAX_COUNT, "inconsistent_buckets")
    return {"count": int(point.count), "sum": total}


def _adds_up(point: Any, counts: Sequence[int]) -> bool:
    return min(counts) >= 0 and sum(counts) == point.count


_MEASURED: dict[MetricKind, Callable[[Any], dict[str, Any]]] = {
    MetricKind.GAUGE: _number,
    MetricKind.SUM: _number,
    MetricKind.HISTOGRAM: _histogram,
    MetricKind.EXPONENTIAL_HISTOGRAM: _exponential,
    MetricKind.SUMMARY: _summary,
}


# Protobuf.


def _proto_items(body: bytes) -> Iterator[_Item]:
    walk = ProtoWalk()
    for resource, metric in walk.items(body):
        parts = walk.last(metric)
        number = next((number for number in _DATA_FIELDS if number in parts), None)
        data = parts[number] if number else None
        if number is None or not isinstance(data, memoryview):
            continue  # no data, or a kind of it that OTLP added later
        shape = walk.last(data)
        shared = _metric(
            resource,
            _text(parts.get(_NAME)),
            _text(parts.get(_UNIT)),
            _text(parts.get(_DESCRIPTION)),
            _DATA_FIELDS[number],
            temporality=shape.get(2, 0),
            is_monotonic=bool(shape.get(3)),
        )
        for point in walk.children(data, 1):
            yield shared, point


_NAME, _DESCRIPTION, _UNIT = 1, 2, 3
_DATA_FIELDS = {
    5: MetricKind.GAUGE,
    7: MetricKind.SUM,
    9: MetricKind.HISTOGRAM,
    10: MetricKind.EXPONENTIAL_HISTOGRAM,
    11: MetricKind.SUMMARY,
}


def _text(value: int | memoryview | None) -> str | None:
    """The text of a field; None when it is not UTF-8."""
    if not isinstance(value, memoryview):
        return ""
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        return None


@cache
def _proto_points() -> dict[MetricKind, Any]:
    from opentelemetry.proto.metrics.v1 import metrics_pb2  # late, as in `wire`

    return {
        MetricKind.GAUGE: metrics_pb2.NumberDataPoint,
        MetricKind.SUM: metrics_pb2.NumberDataPoint,
        MetricKind.HISTOGRAM: metrics_pb2.HistogramDataPoint,
        MetricKind.EXPONENTIAL_HISTOGRAM: metrics_pb2.ExponentialHistogramDataPoint,
        MetricKind.SUMMARY: metrics_pb2.SummaryDataPoint,
    }


def _metric(
    resource: Resource | None,
    name: str | None,
    unit: str | None,
    description: str | None,
    kind: MetricKind,
    *,
    temporality: object,
    is_monotonic: bool,
) -> _Metric:
    fault = ""
    if resource is None or name is None or unit is None or description is None:
        fault = "malformed"
    elif not name:
        fault = "invalid_name"
    elif kind in _TEMPORAL and temporality not in (_DELTA, _CUMULATIVE):
        fault = "unknown_temporality"
    return _Metric(
        resource=resource or Resource(""),
        name=clean(name or "", NAME_LIMIT),
        unit=clean(unit or "", 63),
        description=clean(description or "", 1024),
        kind=kind,
        is_delta=kind in _TEMPORAL and temporality == _DELTA,
        is_monotonic=kind is MetricKind.SUM and is_monotonic,
        fault=fault,
    )


_TEMPORAL = frozenset({MetricKind.SUM, MetricKind.HISTOGRAM, MetricKind.EXPONENTIAL_HISTOGRAM})


# JSON.


class _Point(Message):
    attributes: list[KeyValue] | None = None
    start_time_unix_nano: Int64 = Int64()
    time_unix_nano: Int64 = Int64()
    flags: Int64 = Int64()


class _NumberPoint(_Point):
    as_double: Double = Double()
    as_int: Int64 = Int64()


class _CountedPoint(_Point):
    count: Int64 = Int64()
    sum: Double = Double()


class _HistogramPoint(_CountedPoint):
    bucket_counts: list[Int64] | None = None
    explicit_bounds: list[Double] | None = None


class _Buckets(Message):
    offset: Int64 = Int64()
    bucket_counts: list[Int64] | None = None


class _ExponentialPoint(_CountedPoint):
    scale: Int64 = Int64()
    zero_count: Int64 = Int64()
    positive: _Buckets | None = None
    negative: _Buckets | None = None


class _Quantile(Message):
    quantile: Double = Double()
    value: Double = Double()


class _SummaryPoint(_CountedPoint):
    quantile_values: list[_Quantile] | None = None


_JSON_POINTS: dict[MetricKind, type[_Point]] = {
    MetricKind.GAUGE: _NumberPoint,
    MetricKind.SUM: _NumberPoint,
    MetricKind.HISTOGRAM: _HistogramPoint,
    MetricKind.EXPONENTIAL_HISTOGRAM: _ExponentialPoint,
    MetricKind.SUMMARY: _SummaryPoint,
}


class _Data(Message):
    data_points: list[Raw] | None = None
    aggregation_temporality: int | str | None = None
    is_monotonic: bool | None = None


class _MetricMessage(Message):
    name: str | None = None
    unit: str | None = None
    description: str | None = None
    gauge: _Data | None = None
    sum: _Data | None = None
    histogram: _Data | None = None
    exponential_histogram: _Data | None = None
    summary: _Data | None = None


class _ScopeMetrics(Message):
    scope: Raw = Raw()
    metrics: list[Raw] | None = None


class _ResourceMetrics(Message):
    resource: Raw = Raw()
    scope_metrics: list[_ScopeMetrics] | None = None


class _Request(Message):
    resource_metrics: list[_ResourceMetrics] | None = None


JSON_KEYS: Final = json_keys(
    _Request, _ResourceMetrics, _ScopeMetrics, _MetricMessage, _Data, *_JSON_POINTS.values(), _Buckets, _Quantile
) | {"schemaUrl", "min", "max", "zeroThreshold", "exemplars", "metadata"}
"""Keys that mean something in a metrics request; see `wire_json.ignored_keys_warning`."""

_ARRAY_DEPTHS = frozenset({2, 4, 6, 9})
_TEMPORALITIES = {"AGGREGATION_TEMPORALITY_DELTA": _DELTA, "AGGREGATION_TEMPORALITY_CUMULATIVE": _CUMULATIVE}


def _json_items(body: bytes) -> Iterator[_Item]:
    for scoped in parse_json(body, _Request, arrays=_ARRAY_DEPTHS).resource_metrics or ():
        resource = json_resource(scoped.resource)
        for envelope in scoped.scope_metrics or ():
            source = json_scope(resource, envelope.scope)
            for metric in envelope.metrics or ():
                yield from _json_points(source, metric, len(body))


def _json_points(resource: Resource | None, item: Raw, limit: int) -> Iterator[_Item]:
    try:
        metric = from_json(_MetricMessage, item, limit)
    except ItemError:
        # How many points it had is not known: it counts as one.
        yield _metric(None, "", "", "", MetricKind.GAUGE, temporality=0, is_monotonic=False), item
        return
    for kind in MetricKind:
        data: _Data | None = getattr(metric, kind.value)
        if data is None:
            continue
        temporality = data.aggregation_temporality
        shared = _metric(
            resource,
            metric.name or "",
            metric.unit or "",
            metric.description or "",
            kind,
            temporality=_TEMPORALITIES.get(temporality, 0) if isinstance(temporality, str) else temporality,
            is_monotonic=bool(data.is_monotonic),
        )
        for point in data.data_points or ():
            yield shared, point
