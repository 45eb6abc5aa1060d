"""Data points in, metric families out: what sums, what restarts, what is refused, and what it may cost."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource as SDKResource
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from otel_latency.aggregate.received import ReceivedMetrics
from otel_latency.ingest.otlp_metrics import decode_metrics
from otel_latency.instrument.measure import AUDIO, CONNECTION
from otel_latency.records import MetricKind, MetricPoint, Resource
from otel_latency.web.exposition.legal import base_name, legal
from otel_latency.web.exposition.openmetrics import OpenMetrics

NOW = 1_700_000_000.0
SHOP = Resource("shop", "my.library", attributes={"service.name": "shop"})
OVERFLOW = (("otel_metric_overflow", "true"),)


def point(value: float = 0.0, *, at: float = 1.0, start: float = 1.0, name: str = "m", **rest) -> MetricPoint:
    """A gauge's point, unless *rest* says otherwise, *at* seconds after `NOW` by the sender's clock."""
    defaults = {"unit": "", "description": "", "kind": MetricKind.GAUGE, "resource": SHOP, "attributes": {}}
    times = {"start_ns": int((NOW + start) * 1e9), "time_ns": int((NOW + at) * 1e9)}
    return MetricPoint(name=name, value=value, **{**defaults, **times, **rest})


def counter(value: float, **rest) -> MetricPoint:
    return point(value, kind=MetricKind.SUM, is_monotonic=True, **rest)


def delta(value: float, **rest) -> MetricPoint:
    return counter(value, is_delta=True, **rest)


def histogram(*counts: int, bounds=(1.0, 2.0), **rest) -> MetricPoint:
    kind = MetricKind.HISTOGRAM
    return point(kind=kind, count=sum(counts), sum=1.0, bounds=bounds, bucket_counts=counts, **rest)


def exponential(buckets: dict[int, int], scale: int = 0, **rest) -> MetricPoint:
    kind, count = MetricKind.EXPONENTIAL_HISTOGRAM, sum(buckets.values())
    return point(kind=kind, count=count, sum=1.0, scale=scale, buckets=buckets, **rest)


def shown(received: ReceivedMetrics, now: float = NOW) -> dict[str, dict[tuple[tuple[str, str], ...], object]]:
    """The families as {name: {labels without the service: value, or (count, cumulated buckets)}}."""

    def figure(series):
        return series.value if hasattr(series, "value") else (series.count, dict(getattr(series, "buckets", ())))

    return {
        family.name: {
            tuple(label for label in series.labels if label != ("service", "shop")): figure(series)
            for series in family.series
        }
        for family in received.families(now)
    }


def one(*points: MetricPoint) -> object:
    """What is shown of points that make one series."""
    received = ReceivedMetrics()
    for found in points:
        received.add([found], NOW)
    ((value,),) = (series.values() for series in shown(received).values())
    return value


def test_family():
    """A metric is shown under its Prometheus name with type, unit, help and the labels of its origin."""
    origin = Resource("shop", attributes={"service.instance.id": "a1"})
    received = ReceivedMetrics()
    found = counter(3, name="http.requests", unit="s", description="Why.", resource=origin, attributes={"a.b": True})
    received.add([found], NOW)
    (family,) = received.families(NOW)
    ((labels, value, created),) = [(s.labels, s.value, s.created) for s in family.series]
    assert ("http_requests_seconds_total", "counter", "Why.", "seconds") == (
        family.name,
        family.type,
        family.help,
        family.unit,
    )
    assert (("service", "shop"), ("service_instance_id", "a1"), ("a_b", "true")) == labels
    assert (3.0, NOW + 1) == (value, created)


def test_help_is_never_empty():
    """A metric without a description still has a help text."""
    received = ReceivedMetrics()
    received.add([point(1)], NOW)
    assert ["Received over OTLP."] == [family.help for family in received.families(NOW)]


GAUGE_SUM = {"kind": MetricKind.SUM, "is_monotonic": False}
VALUES = {
    "a gauge shows its latest value": ([point(1, at=1), point(2, at=2)], 2),
    "whatever the order of arrival": ([point(2, at=2), point(1, at=1)], 2),
    "a gauge without times shows what came last": ([point(2, time_ns=0), point(1, time_ns=0)], 1),
    "a cumulative sum that goes up and down is a gauge": (
        [point(5, at=1, **GAUGE_SUM), point(3, at=2, **GAUGE_SUM)],
        3,
    ),
    "deltas that go up and down add up": (
        [point(5, at=1, is_delta=True, **GAUGE_SUM), point(-2, at=2, is_delta=True, **GAUGE_SUM)],
        3,
    ),
    "and are counted once": ([point(5, at=1, is_delta=True, **GAUGE_SUM)] * 2, 5),
    "a cumulative counter is its last value": ([counter(0.1, at=1), counter(0.3, at=2)], 0.3),
    "sent twice it changes nothing": ([counter(2, at=2), counter(2, at=2), counter(1, at=1)], 2),
    "after a restart it runs on": ([counter(5, at=1), counter(2, start=2, at=3), counter(4, start=2, at=4)], 9),
    "even if only the fall tells of it": ([counter(5, at=1, start_ns=0), counter(2, at=3, start_ns=0)], 7),
    "even if the sender's clock went back": ([counter(5, at=9, start=1), counter(2, at=8, start=7)], 7),
    "deltas add up": ([delta(1, at=1), delta(2, start=1, at=2), delta(3, start=2, at=3)], 6),
    "a delta sent twice counts once": ([delta(1, at=2), delta(1, at=2), delta(2, start=2, at=3)], 3),
    "deltas without times all count": ([delta(1, start_ns=0, time_ns=0)] * 3, 3),
    "a cumulative histogram is its last state": (
        [histogram(1, 0, 0, at=1), histogram(1, 2, 1, at=2)],
        (4, {1.0: 1, 2.0: 3}),
    ),
    "after a restart it runs on too": (
        [histogram(1, 2, 3, at=1), histogram(1, 0, 0, start=2, at=3)],
        (7, {1.0: 2, 2.0: 4}),
    ),
    "new bounds after a restart replace the old": (
        [histogram(1, 2, 3, at=1), histogram(1, 0, bounds=(9.0,), start=2, at=3)],
        (1, {9.0: 1}),
    ),
    "delta histograms add up": (
        [histogram(1, 2, 3, at=1, is_delta=True), histogram(1, 1, 1, at=2, start=1, is_delta=True)],
        (9, {1.0: 2, 2.0: 5}),
    ),
    "delta exponential histograms add up at the coarser scale": (
        [exponential({0: 1, 1: 1}, 1, at=1, is_delta=True), exponential({1: 4}, at=2, is_delta=True)],
        (6, {2.0: 2, 4.0: 6}),
    ),
}


@pytest.mark.parametrize(("points", "expected"), VALUES.values(), ids=VALUES)
def test_values(points, expected):
    """Each kind of metric is shown as Prometheus would have it: current, cumulative, counted once."""
    assert expected == one(*points)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_deltas_equal_their_sums(sent):
    """However deltas of several series are mixed, each total is the sum of its own."""
    received = ReceivedMetrics(max_series=3)
    expected = Counter()
    for at, (series, value) in enumerate(sent, 1):
        received.add([delta(value, start=at - 1, at=at, attributes={"s": series})], NOW)
        expected[series] += value
    found = shown(received).get("m_total", {})
    assert sum(expected.values()) == sum(found.values())
    for labels, value in found.items():
        assert labels == OVERFLOW or value == expected[int(dict(labels)["s"])]


@given(st.lists(st.integers(0, 5), max_size=40))
@settings(max_examples=100, deadline=None)
def test_cumulative_equals_delta(steps):
    """A counter that restarts now and then shows what deltas of the same events would."""
    received = ReceivedMetrics()
    total, start, running = 0, 1, 0
    for at, step in enumerate(steps, 2):
        if step == 0:
            start, running = at, 0
        total, running = total + step, running + step
        received.add([counter(running, name="c", start=start, at=at), delta(step, name="d", start=at - 1, at=at)], NOW)
    found = shown(received)
    assert [{(): total}] * bool(steps) * 2 == list(found.values())


def test_two_senders_of_one_series():
    """Senders that no label tells apart add up, and neither looks like a restart of the other."""
    received = ReceivedMetrics()
    for at in (1, 2, 3):
        for pod, value in (("a", 10 * at), ("b", at)):
            origin = Resource("shop", attributes={"k8s.pod.name": pod})
            received.add([counter(value, at=at, resource=origin)], NOW)
    assert {"m_total": {(): 33.0}} == shown(received)


def test_silent_sender_of_a_shared_series():
    """When one of them falls silent its count stays."""
    received = ReceivedMetrics(expire_after=60)
    a, b = (Resource("shop", attributes={"k8s.pod.name": pod}) for pod in "ab")
    received.add([counter(10, resource=a), counter(1, resource=b)], NOW)
    received.add([counter(2, resource=b, at=61)], NOW + 61)
    assert {"m_total": {(): 12.0}} == shown(received, NOW + 61)


REFUSED = {
    "a counter where a gauge is": ([point(1, name="a_total"), counter(1, name="a")], "type_conflict"),
    "a histogram where a gauge is": ([point(1), histogram(1, 0, 0)], "type_conflict"),
    "an exponential where an explicit histogram is": ([histogram(1, 0, 0), exponential({0: 1})], "type_conflict"),
    "a gauge called as a histogram's part": ([histogram(1, 0, 0), point(1, name="m_count")], "name_conflict"),
    "a histogram whose part is called as a gauge": ([point(1, name="m_bucket"), histogram(1, 0, 0)], "name_conflict"),
    "a gauge called as a counter's stem": ([counter(1), point(1, name="m")], "name_conflict"),
    "a name of ours": ([point(1, name="x"), point(1, name="otel_latency.turns")], "reserved_name"),
    "Prometheus' own": ([point(1, name="x"), point(1, name="ALERTS")], "reserved_name"),
    "no name at all": ([point(1, name="x"), point(1, name="@")], "invalid_name"),
}


@pytest.mark.parametrize(("points", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(points, reason):
    """A point that would make the page contradict itself is counted and not shown; the first family stays."""
    received = ReceivedMetrics()
    received.add(points, NOW)
    assert (1, {reason: 1}) == (len(received.families(NOW)), received.dropped)


def test_the_library_may_use_our_names():
    """What our own library measures as metrics is shown: audio, the connection and circuit breakers."""
    sent = [name for name, *_ in (*AUDIO.values(), *CONNECTION.values())] + ["otel_latency.circuit_state"]
    received = ReceivedMetrics()
    received.add([point(1, name=name) for name in sent], NOW)
    assert {name.replace(".", "_") for name in sent} == {family.name for family in received.families(NOW)}
    assert {} == dict(received.dropped)


def test_reserved_names_can_be_given():
    """Which names are taken is for the composition to say."""
    received = ReceivedMetrics(reserved=("m",))
    received.add([point(1), point(1, name="ALERTS")], NOW)
    assert ["ALERTS"] == [family.name for family in received.families(NOW)]


@pytest.mark.parametrize("is_delta", [False, True])
def test_overflow_keeps_counts_exact(is_delta):
    """Beyond the cap counters and histograms count in one series per family, and nothing is lost."""
    received = ReceivedMetrics(max_series=4)
    for at in (1, 2):
        value = 1 if is_delta else at
        counts = (value, 0, value)
        times = {"start": at - 1, "at": at} if is_delta else {"start": 0, "at": at}
        for i in range(6):
            where = {"attributes": {"i": i}, "is_delta": is_delta, **times}
            received.add([counter(value, name="c", **where), histogram(*counts, name="h", **where)], NOW)
    found = shown(received)
    assert {**{(("i", str(i)),): 2.0 for i in range(2)}, OVERFLOW: 8.0} == found["c_total"]
    assert {**{(("i", str(i)),): (4, {1.0: 2, 2.0: 2}) for i in range(2)}, OVERFLOW: (16, {1.0: 8, 2.0: 8})} == found[
        "h"
    ]
    assert ({"counter": 8, "histogram": 8}, {}) == (received.overflowed, received.dropped)


def test_overflow_of_what_does_not_add_up():
    """A gauge or summary beyond the cap is dropped and counted."""
    received = ReceivedMetrics(max_series=1)
    summary = {"kind": MetricKind.SUMMARY, "count": 1}
    received.add([point(1), point(2, attributes={"a": 1})], NOW)
    received.add([point(name="s", attributes={"a": 1}, **summary)], NOW)
    assert ({"m": {(): 1}}, {"overflow": 2}) == (shown(received), received.dropped)


def test_overflow_restarts():
    """A restart inside the overflow series is no loss either."""
    received = ReceivedMetrics(max_series=1)
    received.add([counter(1)], NOW)
    for start, at, value in ((1, 2, 5), (3, 4, 2), (3, 5, 4)):
        received.add([counter(value, start=start, at=at, attributes={"a": 1})], NOW)
    assert {"m_total": {(): 1.0, OVERFLOW: 9.0}} == shown(received)


def test_series_of_long_labels_count_in_the_overflow():
    """Labels of more than 4 KiB are not kept."""
    received = ReceivedMetrics()
    received.add([counter(1), counter(2, attributes={str(i): "x" * 200 for i in range(30)})], NOW)
    assert {"m_total": {(): 1.0, OVERFLOW: 2.0}} == shown(received)


def test_series_are_bounded():
    """However many names and labels come, what is kept is bounded, and counts of known families are exact."""
    received = ReceivedMetrics(max_series=50)
    points = [delta(1, name=f"m{i % 5}", attributes={"i": i}, start=i, at=i) for i in range(2000)]
    received.add(points, NOW)
    received.add([delta(1, name=f"n{i}") for i in range(2000)], NOW)
    known = {name: series for name, series in shown(received).items() if name.startswith("m")}
    assert [400.0] * 5 == [sum(series.values()) for series in known.values()]
    assert received.series <= 100


def test_streams_in_overflow_are_bounded():
    """A cumulative stream for which there is no memory is dropped rather than counted twice."""
    received = ReceivedMetrics(max_series=2)
    for at in (1, 2):
        received.add([counter(at, attributes={"i": i}, start=0, at=at) for i in range(8)], NOW)
    assert {(("i", "0"),): 2.0, (("i", "1"),): 2.0, OVERFLOW: 8.0} == shown(received)["m_total"]
    assert {"overflow": 4} == received.dropped


def test_expiry():
    """A series without news is forgotten, its family with its last one, and there is room again."""
    received = ReceivedMetrics(max_series=2, expire_after=60)
    received.add([point(1, name="old"), counter(1, attributes={"a": 1})], NOW)
    received.add([counter(2, attributes={"a": 1}, at=30)], NOW + 30)
    assert {"m_total": {(("a", "1"),): 2.0}} == shown(received, NOW + 61)
    received.add([counter(1, attributes={"a": 2}, at=61), counter(1, name="old", at=61)], NOW + 61)
    assert {"m_total", "old_total"} == shown(received, NOW + 90).keys()
    assert ({}, 0, {}) == (shown(received, NOW + 122), received.series, received.dropped)


def test_duplicates_do_not_keep_a_series_alive():
    """Points that say nothing new are no news."""
    received = ReceivedMetrics(expire_after=60)
    for later in (0, 50, 100):
        received.add([counter(1)], NOW + later)
    assert ({}, {"duplicate": 2}) == (shown(received, NOW + 100), received.dropped)


def test_sender_ends_a_series():
    """A point without a recorded value takes the series away."""
    received = ReceivedMetrics()
    received.add([point(1), counter(1, name="c")], NOW)
    received.add([point(no_recorded_value=True, at=2), point(no_recorded_value=True, name="new")], NOW)
    assert {"c_total": {(): 1.0}} == shown(received)


def test_summary():
    """A summary shows its quantiles with count and sum."""
    received = ReceivedMetrics()
    received.add([point(kind=MetricKind.SUMMARY, count=3, sum=6.0, quantiles=((0.5, 2.0),))], NOW)
    ((family,),) = [received.families(NOW)]
    (series,) = family.series
    assert ("summary", 3, 6.0, ((0.5, 2.0),)) == (family.type, series.count, series.sum, series.quantiles)


def test_native_histogram():
    """An exponential histogram keeps its native buckets, numbered as Prometheus numbers them."""
    received = ReceivedMetrics()
    received.add([exponential({0: 1, 3: 2}, scale=3)], NOW)
    ((family,),) = [received.families(NOW)]
    (series,) = family.series
    assert ("histogram", 3, {1: 1, 4: 2}, 3) == (family.type, series.count, series.native, series.schema)


def test_the_sdk():
    """What the OpenTelemetry SDK records over two exports is shown with its totals."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], SDKResource({"service.name": "shop"}))
    meter = provider.get_meter("my.library")
    calls, delays = meter.create_counter("calls", unit="{call}"), meter.create_histogram("delay", unit="s")
    received = ReceivedMetrics()
    for value in (0.004, 0.3):
        calls.add(2, {"ok": True})
        delays.record(value)
        request = encode_metrics(reader.get_metrics_data())
        received.add(decode_metrics(request.SerializeToString(), is_json=False)[0], NOW)
    provider.shutdown()
    found = shown(received)
    assert {(("ok", "true"),): 4.0} == found["calls_total"]
    assert (2, 1, 2) == (found["delay_seconds"][()][0], found["delay_seconds"][()][1][5.0] - 1, 2)


ATTRIBUTES = st.dictionaries(
    st.text(max_size=6) | st.sampled_from(["le", "service", "a.b", "a_b", "__name__"]),
    st.text(max_size=4) | st.integers() | st.floats() | st.booleans() | st.lists(st.text(max_size=2), max_size=2),
    max_size=4,
)
POINTS = st.builds(
    lambda make, name, attributes, at, is_delta: make(name, attributes, at, is_delta),
    st.sampled_from(
        [
            lambda name, a, at, d: counter(float(at), name=name, attributes=a, at=at, is_delta=d),
            lambda name, a, at, d: point(float(at), name=name, attributes=a, at=at),
            lambda name, a, at, d: histogram(1, at, 2, name=name, attributes=a, at=at, is_delta=d),
            lambda name, a, at, d: exponential({-at: 1, at: 2}, at - 4, name=name, attributes=a, at=at, is_delta=d),
        ]
    ),
    st.text(max_size=6) | st.sampled_from(["m", "m_total", "m.count", "m_bucket"]),
    ATTRIBUTES,
    st.integers(0, 9),
    st.booleans(),
)


@given(st.lists(POINTS, max_size=30), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_the_page_is_always_valid(points, max_series):
    """Whatever is sent, every series of it can be shown in every format, and an independent parser reads the page."""
    received = ReceivedMetrics(max_series=max_series)
    received.add(points, NOW)
    families, hidden = legal(received.families(NOW))
    assert 0 == hidden
    parsed = list(text_string_to_metric_families(OpenMetrics().render(families).decode()))
    assert [(base_name(family), family.type) for family in families] == [(found.name, found.type) for found in parsed]
