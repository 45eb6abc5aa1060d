"""Metrics requests, in protobuf and in JSON, become data points."""

import json
import tracemalloc
from contextlib import suppress

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest.otlp_metrics import JSON_KEYS, decode_metrics
from otel_latency.ingest.wire_json import ignored_keys_warning
from otel_latency.records import MetricKind

CUMULATIVE, DELTA = 2, 1


def request(service: str = "shop") -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add().resource
    resource.attributes.add(key="service.name", value=AnyValue(string_value=service))
    return message


def metric(message: ExportMetricsServiceRequest, name: str = "requests"):
    envelope = message.resource_metrics[0].scope_metrics.add()
    envelope.scope.name = "my.library"
    return envelope.metrics.add(name=name, unit="s", description="What it is.")


def encodings(message: ExportMetricsServiceRequest) -> list[tuple[bytes, bool]]:
    """The same request in both encodings. (None of these has ids, which json_format would write as base64.)"""
    return [(message.SerializeToString(), False), (json_format.MessageToJson(message, indent=None).encode(), True)]


def decode_both(message: ExportMetricsServiceRequest):
    """What both encodings of *message* say, which must be the same."""
    in_protobuf, in_json = (decode_metrics(body, is_json=is_json) for body, is_json in encodings(message))
    assert in_protobuf == in_json
    return in_protobuf


def test_gauge():
    """A gauge's point keeps name, unit, description, attributes, origin and time."""
    message = request()
    point = metric(message).gauge.data_points.add(as_double=1.5, time_unix_nano=7)
    point.attributes.add(key="route", value=AnyValue(string_value="/cart"))
    ((found,), rejected) = decode_both(message)
    assert not rejected
    assert ("requests", "s", "What it is.", MetricKind.GAUGE, "shop", "my.library", {"route": "/cart"}, 0, 7, 1.5) == (
        found.name,
        found.unit,
        found.description,
        found.kind,
        found.resource.service,
        found.resource.scope_name,
        found.attributes,
        found.start_ns,
        found.time_ns,
        found.value,
    )


def test_sum():
    """A sum's point says whether it only grows and whether it is a delta."""
    message = request()
    for temporality, is_monotonic in ((CUMULATIVE, True), (DELTA, False)):
        data = metric(message).sum
        data.aggregation_temporality, data.is_monotonic = temporality, is_monotonic
        data.data_points.add(as_int=-3 if not is_monotonic else 3, start_time_unix_nano=1, time_unix_nano=2)
    points, _ = decode_both(message)
    assert [(3.0, True, False, 1), (-3.0, False, True, 1)] == [
        (point.value, point.is_monotonic, point.is_delta, point.start_ns) for point in points
    ]


def test_histogram():
    """A histogram's point keeps its bounds and its counts as sent."""
    message = request()
    data = metric(message).histogram
    data.aggregation_temporality = DELTA
    data.data_points.add(count=6, sum=9.5, explicit_bounds=[1, 2], bucket_counts=[1, 2, 3], min=0, max=4)
    data.data_points.add(count=2, sum=1)
    points, _ = decode_both(message)
    assert [(6, 9.5, (1, 2), (1, 2, 3), True), (2, 1, (), (), True)] == [
        (point.count, point.sum, point.bounds, point.bucket_counts, point.is_delta) for point in points
    ]


def test_exponential_histogram():
    """Buckets are kept by index where there is something in them; negative values count with the zeros."""
    message = request()
    data = metric(message).exponential_histogram
    data.aggregation_temporality = CUMULATIVE
    point = data.data_points.add(count=10, sum=5, scale=-2, zero_count=1)
    point.positive.offset = -3
    point.positive.bucket_counts.extend([4, 0, 3])
    point.negative.bucket_counts.extend([2])
    ((found,), _) = decode_both(message)
    assert (10, 5.0, -2, 3, {-3: 4, -1: 3}) == (found.count, found.sum, found.scale, found.zero_count, found.buckets)


def test_summary():
    """A summary keeps the quantiles that are numbers, in order."""
    message = request()
    point = metric(message).summary.data_points.add(count=2, sum=3)
    for quantile, value in ((0.99, 2.0), (0.5, 1.0), (0.9, float("nan")), (7.0, 1.0)):
        point.quantile_values.add(quantile=quantile, value=value)
    ((found,), _) = decode_both(message)
    assert (2, 3.0, ((0.5, 1.0), (0.99, 2.0))) == (found.count, found.sum, found.quantiles)


def test_end_of_a_series():
    """A point without a recorded value is marked as such."""
    message = request()
    metric(message).gauge.data_points.add(flags=1)
    ((found,), _) = decode_both(message)
    assert found.no_recorded_value


def test_times_beyond_64_bits_signed():
    """A time that other programs could not hold is taken as the largest they can."""
    message = request()
    metric(message).gauge.data_points.add(time_unix_nano=2**64 - 1)
    ((found,), _) = decode_both(message)
    assert 2**63 - 1 == found.time_ns


def _gauge(message, **fields):
    metric(message).gauge.data_points.add(**fields)


def _sum(message, temporality, value=1):
    data = metric(message).sum
    data.aggregation_temporality, data.is_monotonic = temporality, True
    data.data_points.add(as_int=value)


def _histogram(message, **fields):
    data = metric(message).histogram
    data.aggregation_temporality = CUMULATIVE
    data.data_points.add(**fields)


def _exponential(message, *, count, scale, offset=0, counts=()):
    data = metric(message).exponential_histogram
    data.aggregation_temporality = CUMULATIVE
    point = data.data_points.add(count=count, scale=scale)
    point.positive.offset = offset
    point.positive.bucket_counts.extend(counts)


NAN, INFINITY = float("nan"), float("inf")
REFUSED = {
    "not a number": (_gauge, {"as_double": NAN}, "not_finite"),
    "an infinite value": (_gauge, {"as_double": INFINITY}, "not_finite"),
    "an infinite sum": (_histogram, {"count": 1, "sum": INFINITY}, "not_finite"),
    "no temporality": (_sum, {"temporality": 0}, "unknown_temporality"),
    "a temporality to come": (_sum, {"temporality": 3}, "unknown_temporality"),
    "a counter below zero": (_sum, {"temporality": DELTA, "value": -1}, "negative_counter"),
    "too few counts": (
        _histogram,
        {"count": 1, "explicit_bounds": [1.0, 2.0], "bucket_counts": [1, 0]},
        "inconsistent_buckets",
    ),
    "counts that do not add up": (
        _histogram,
        {"count": 9, "explicit_bounds": [1.0], "bucket_counts": [1, 2]},
        "inconsistent_buckets",
    ),
    "bounds that fall": (
        _histogram,
        {"count": 3, "explicit_bounds": [2.0, 1.0], "bucket_counts": [1, 1, 1]},
        "inconsistent_buckets",
    ),
    "a bound that is no number": (
        _histogram,
        {"count": 2, "explicit_bounds": [NAN], "bucket_counts": [1, 1]},
        "inconsistent_buckets",
    ),
    "very many buckets": (
        _histogram,
        {"count": 0, "explicit_bounds": range(2000), "bucket_counts": [0] * 2001},
        "too_many_buckets",
    ),
    "a count beyond exactness": (_histogram, {"count": 2**53 + 1}, "inconsistent_buckets"),
    "a coarse scale": (_exponential, {"count": 1, "scale": -5, "counts": [1]}, "unsupported_scale"),
    "a fine scale": (_exponential, {"count": 1, "scale": 21, "counts": [1]}, "unsupported_scale"),
    "exponential counts that do not add up": (
        _exponential,
        {"count": 2, "scale": 0, "counts": [1]},
        "inconsistent_buckets",
    ),
    "a bucket beyond all doubles": (
        _exponential,
        {"count": 1, "scale": 0, "offset": 1024, "counts": [1]},
        "inconsistent_buckets",
    ),
    "many attributes": (
        _gauge,
        {"attributes": [KeyValue(key=str(i)) for i in range(129)]},
        "too_many_attributes",
    ),
    "a large point": (
        _gauge,
        {"attributes": [KeyValue(key="k", value=AnyValue(string_value="x" * 70_000))]},
        "too_large",
    ),
}


@pytest.mark.parametrize(("add", "fields", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_points(add, fields, reason):
    """A point that cannot be shown honestly is refused with its reason, and its neighbour is taken."""
    message = request()
    add(message, **fields)
    metric(message).gauge.data_points.add(as_int=1)
    points, rejected = decode_both(message)
    assert ([1.0], {reason: 1}) == ([point.value for point in points], rejected)


def test_metric_without_a_name():
    """The points of a nameless metric are refused, every one counted."""
    message = request()
    data = metric(message, name="").gauge
    data.data_points.add(as_int=1)
    data.data_points.add(as_int=2)
    assert ([], {"invalid_name": 2}) == decode_both(message)


def test_invalid_utf8_costs_what_it_names():
    """Bad text in a point costs the point; in a metric or a resource it costs their points."""
    message = request()
    bad, good = "abcde", b"ab\xffde"
    metric(message).gauge.data_points.add(attributes=[KeyValue(key=bad)])
    metric(message, name=bad).gauge.data_points.add(as_int=1)
    metric(message).gauge.data_points.add(as_int=2)
    other = request(service=bad)
    metric(other).gauge.data_points.add(as_int=3)
    message.MergeFrom(other)
    points, rejected = decode_metrics(message.SerializeToString().replace(bad.encode(), good), is_json=False)
    assert ([2.0], {"malformed": 3}) == ([point.value for point in points], rejected)


def test_lone_surrogates_are_made_clean():
    """Half a surrogate pair in JSON is replaced, since nothing behind us could write it down."""
    body = json.dumps(
        {
            "resourceMetrics": [
                {
                    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "\ud800"}}]},
                    "scopeMetrics": [
                        {
                            "metrics": [
                                {
                                    "name": "m\udfff",
                                    "gauge": {
                                        "dataPoints": [
                                            {"attributes": [{"key": "k", "value": {"stringValue": "\ud800"}}]}
                                        ]
                                    },
                                }
                            ]
                        }
                    ],
                }
            ]
        }
    )
    ((point,), _) = decode_metrics(body.encode(), is_json=True)
    assert ("�", "m�", {"k": "�"}) == (point.resource.service, point.name, point.attributes)


def test_bad_metric_in_json():
    """A metric of the wrong shape counts as one point refused; the rest of the request is taken."""
    metrics = '[{"name": 5}, {"name": "m", "gauge": {"dataPoints": [{"asInt": "1"}, 7]}}]'
    body = f'{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": {metrics}}}]}}]}}'
    points, rejected = decode_metrics(body.encode(), is_json=True)
    assert ([1.0], {"malformed": 2}) == ([point.value for point in points], rejected)


def test_enum_by_name():
    """A temporality by its name is taken, though the specification asks for numbers."""
    data = '{"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "dataPoints": [{"asInt": 1}]}'
    body = f'{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [{{"name": "m", "sum": {data}}}]}}]}}]}}'
    ((point,), _) = decode_metrics(body.encode(), is_json=True)
    assert point.is_delta


EMPTY = {
    "no bytes": (b"", False),
    "empty JSON": (b"{}", True),
    "empty envelopes": (b'{"resourceMetrics":[{},{"scopeMetrics":[{}, {"metrics":[{"name":"m"}]}]}]}', True),
    "nulls": (b'{"resourceMetrics":[{"resource":null,"scopeMetrics":[{"scope":null,"metrics":null}]}]}', True),
    "empty protobuf envelopes": (b"\x0a\x00\x0a\x02\x12\x00\x0a\x04\x12\x02\x12\x00", False),
    "an unknown field": (b"\x7a\x03abc", False),
    "snake_case": (b'{"resource_metrics":[{"scope_metrics":[]}]}', True),
}


@pytest.mark.parametrize(("body", "is_json"), EMPTY.values(), ids=EMPTY)
def test_nothing_in_it(body, is_json):
    """A request without points is no error."""
    assert ([], {}) == decode_metrics(body, is_json=is_json)


def test_ignored_keys_are_named():
    """The keys of the JSON rules are known, those of other spellings are reported."""
    message = request()
    metric(message).gauge.data_points.add(as_int=1)
    assert "" == ignored_keys_warning(json_format.MessageToJson(message).encode(), JSON_KEYS)
    assert "resource_metrics, scope_metrics" in ignored_keys_warning(EMPTY["snake_case"][0], JSON_KEYS)


UNREADABLE = {
    "text for protobuf": (b"hello", False),
    "cut protobuf": (b"\x0a\x05\x12", False),
    "cut below": (b"\x0a\x02\x12\x05", False),
    "a list": (b"[]", True),
    "text": (b'"x"', True),
    "null": (b"null", True),
    "nothing": (b"", True),
    "cut JSON": (b'{"resourceMetrics":[', True),
    "not UTF-8": (b'{"x":"\xff"}', True),
    "deep JSON": (b'{"x":' + b"[" * 101 + b"]" * 101 + b"}", True),
    "very deep JSON": (b"[" * 100_000, True),
    "an envelope of the wrong type": (b'{"resourceMetrics":5}', True),
}


@pytest.mark.parametrize(("body", "is_json"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable(body, is_json):
    """A body that is no request at all is refused as a whole."""
    with pytest.raises(DecodeError):
        decode_metrics(body, is_json=is_json)


def _field(number: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


def _in_scope(metrics: bytes) -> bytes:
    return _field(1, _field(2, metrics))


HALF = 2 << 20  # of two bytes each: 4 MiB
BOMBS = {
    "empty resources": (b"\x0a\x00" * HALF, False),
    "empty scopes": (_field(1, b"\x12\x00" * HALF), False),
    "empty metrics": (_in_scope(b"\x12\x00" * HALF), False),
    "empty points": (_in_scope(_field(2, _field(1, b"m") + _field(5, b"\x0a\x00" * HALF))), False),
    "unknown fields": (b"\x78\x00" * HALF, False),
    "empty points in JSON": (
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":['
        + b",".join([b"{}"] * 1_398_000)
        + b"]}}]}]}]}",
        True,
    ),
}


@pytest.mark.parametrize(("body", "is_json"), BOMBS.values(), ids=BOMBS)
def test_structural_bombs(body, is_json):
    """4 MiB of empty messages are refused."""
    with pytest.raises(BodyTooLarge):
        decode_metrics(body, is_json=is_json)


@pytest.mark.parametrize("bomb", ["empty resources", "empty points", "empty points in JSON"])
def test_structural_bombs_take_no_memory(bomb):
    """They are refused before anything is made of them."""
    decode_metrics(b"", is_json=False)
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        decode_metrics(BOMBS[bomb][0], is_json=BOMBS[bomb][1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_number_of_points():
    """20,000 points are taken, one more is too many, in either encoding."""
    message = request()
    data = metric(message).gauge
    data.data_points.extend([NumberDataPoint(as_int=1)] * 20_000)
    points, _ = decode_both(message)
    assert 20_000 == len(points)
    data.data_points.add(as_int=1)
    for body, is_json in encodings(message):
        with pytest.raises(BodyTooLarge, match="20000 data points"):
            decode_metrics(body, is_json=is_json)


def test_the_sdk():
    """What the OpenTelemetry SDK records arrives as it was recorded."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="turn", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], Resource({"service.name": "shop"}), views=[view])
    meter = provider.get_meter("my.library", "1.2")
    meter.create_counter("calls", unit="{call}").add(3, {"ok": True})
    meter.create_up_down_counter("open").add(-2)
    meter.create_histogram("delay", unit="s").record(0.3)
    for value in (0.5, 1.0, 2.0):
        meter.create_histogram("turn", unit="s").record(value)
    points, rejected = decode_both(encode_metrics(reader.get_metrics_data()))
    provider.shutdown()
    by_name = {point.name: point for point in points}
    assert not rejected
    assert (3.0, {"ok": True}, True) == (
        by_name["calls"].value,
        by_name["calls"].attributes,
        by_name["calls"].is_monotonic,
    )
    assert (-2.0, False) == (by_name["open"].value, by_name["open"].is_monotonic)
    assert (1, 0.3, 1) == (by_name["delay"].count, by_name["delay"].sum, sum(by_name["delay"].bucket_counts))
    assert (3, 3.5, 3) == (by_name["turn"].count, by_name["turn"].sum, sum(by_name["turn"].buckets.values()))


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes(body, is_json):
    """Whatever arrives, the only way to fail is DecodeError."""
    with suppress(DecodeError):
        decode_metrics(body, is_json=is_json)


def _example() -> bytes:
    message = request()
    _histogram(message, count=3, explicit_bounds=[1.0], bucket_counts=[1, 2])
    _exponential(message, count=1, scale=3, counts=[1])
    _sum(message, DELTA)
    return message.SerializeToString()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_requests(data):
    """A request with some bytes changed is read as far as it can be, or refused as a whole."""
    body = bytearray(_example())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decode_metrics(bytes(body), is_json=False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(JSON_KEYS)), inner),
        max_leaves=30,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_shape_of_json(document):
    """Known keys in unknown places do no harm."""
    with suppress(DecodeError):
        decode_metrics(json.dumps({"resourceMetrics": document}).encode(), is_json=True)
