"""The protobuf format, read back by the protobuf library with the schema of `conftest`."""

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.sketch import Sketch
from otel_latency.web.exposition import Protobuf
from otel_latency.web.exposition.protobuf import spans_and_deltas

LABELS = (("service", "bot"), ("stage", "llm"))


def native_buckets(histogram):
    """Bucket index to count, undoing spans and deltas as a scraper does."""
    indexes, end = [], 0
    for span in histogram.positive_span:
        start = end + span.offset
        end = start + span.length
        indexes += range(start, end)
    counts = accumulate(histogram.positive_delta)
    return {index: count for index, count in zip(indexes, counts, strict=True) if count}


def test_values(parse_delimited):
    """Counters, gauges and untyped values, each in its own message."""
    page = Protobuf().render(
        [
            Family("hits_total", "counter", "Hits.", [ValueSeries(LABELS, 12.5, created=1.25)]),
            Family("level", "gauge", "", [ValueSeries((), -math.inf)]),
            Family("odd", "untyped", "", [ValueSeries((), 2**53)]),
        ]
    )
    counter, gauge, untyped = parse_delimited(page)
    (metric,) = counter.metric
    assert (counter.name, counter.help, counter.type) == ("hits_total", "Hits.", 0)
    assert [(pair.name, pair.value) for pair in metric.label] == list(LABELS)
    assert (metric.counter.value, metric.counter.created_timestamp.nanos) == (12.5, 250_000_000)
    assert (gauge.type, gauge.metric[0].gauge.value) == (1, -math.inf)
    assert (untyped.type, untyped.metric[0].untyped.value) == (3, 2**53)


def test_summary(parse_delimited):
    """Quantiles in their order, with sum and count."""
    series = SummarySeries(LABELS, 300, 0.75, ((0.5, 0.25), (0.99, math.nan)))
    (family,) = parse_delimited(Protobuf().render([Family("s_seconds", "summary", "", [series], "seconds")]))
    summary = family.metric[0].summary
    assert (family.unit, summary.sample_count, summary.sample_sum) == ("seconds", 300, 0.75)
    assert repr([(q.quantile, q.value) for q in summary.quantile]) == "[(0.5, 0.25), (0.99, nan)]"


def test_histogram(parse_delimited):
    """Classic and native buckets stand side by side, and the native ones are the sketch's own."""
    rng = random.Random(4)
    sketch = Sketch([rng.lognormvariate(-1, 1) for _ in range(5_000)] + [0.0] * 3)
    series = HistogramSeries(
        LABELS,
        sketch.count,
        sketch.sum,
        ((0.1, 40), (1.0, 4_000)),
        native=sketch.bucket_counts(),
        zero_count=sketch.non_positive_count(),
        created=1_700_000_000.5,
    )
    (family,) = parse_delimited(Protobuf().render([Family("h_seconds", "histogram", "H.", [series], "seconds")]))
    histogram = family.metric[0].histogram
    assert (histogram.sample_count, histogram.sample_sum) == (5_003, sketch.sum)
    assert [(b.upper_bound, b.cumulative_count) for b in histogram.bucket] == [(0.1, 40), (1.0, 4_000)]
    assert (histogram.schema, histogram.zero_count, histogram.zero_threshold) == (6, 3, 2.0**-128)
    assert native_buckets(histogram) == sketch.bucket_counts()
    assert histogram.created_timestamp.seconds == 1_700_000_000


def test_an_empty_native_histogram_is_native(parse_delimited):
    """Before its first observation a histogram already says that it is native: its zero bucket has a width."""
    series = HistogramSeries((), 0, 0.0, (), native={})
    (family,) = parse_delimited(Protobuf().render([Family("h", "histogram", "", [series])]))
    assert family.metric[0].histogram.zero_threshold > 0


def test_a_classic_histogram_is_not_native(parse_delimited):
    """Without native buckets none of their fields is there."""
    (family,) = parse_delimited(
        Protobuf().render([Family("h", "histogram", "", [HistogramSeries((), 1, 1.0, ((2.0, 1),))])])
    )
    assert {field.name for field, _ in family.metric[0].histogram.ListFields()} == {
        "sample_count",
        "sample_sum",
        "bucket",
    }


@pytest.mark.parametrize(("value", "bound"), [(0.1, 0.1), (0.2, 1.0), (7.0, math.inf)])
def test_exemplar(parse_delimited, value, bound):
    """An exemplar rides on its classic bucket and in the list of the native histogram."""
    exemplar = Exemplar(value, "ab" * 16, "cd" * 8, 1_700_000_000.25)
    series = HistogramSeries((), 3, 1.0, ((0.1, 1), (1.0, 2)), native={1: 3}, exemplar=exemplar)
    (family,) = parse_delimited(Protobuf().render([Family("h", "histogram", "", [series])]))
    histogram = family.metric[0].histogram
    (shown,) = [bucket for bucket in histogram.bucket if bucket.HasField("exemplar")]
    assert (shown.upper_bound, shown.exemplar) == (bound, histogram.exemplars[0])
    assert {pair.name: pair.value for pair in shown.exemplar.label} == {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    assert (shown.exemplar.value, shown.exemplar.timestamp.nanos) == (value, 250_000_000)


@pytest.mark.parametrize("exemplar", [Exemplar(math.nan, "ab", "cd", 1.0), Exemplar(1.0, "\ud800", "cd", 1.0)])
def test_an_unfit_exemplar_is_left_out(exemplar):
    """It costs the series nothing but the exemplar."""
    pages = [
        Protobuf().render(
            [Family("h", "histogram", "", [HistogramSeries((), 1, 1.0, ((2.0, 1),), {1: 1}, exemplar=one)])]
        )
        for one in (exemplar, None)
    ]
    assert pages[0] == pages[1]


def test_a_family_without_series_is_left_out():
    """Prometheus gives up a whole scrape over a family without metrics."""
    assert Protobuf().render([Family("h", "histogram", "", [])]) == b""


SPANS = {
    "nothing": ({}, [], []),
    "one run from zero": ({0: 5, 1: 7}, [(0, 2)], [5, 2]),
    "a negative start": ({-3: 5}, [(-3, 1)], [5]),
    "a short gap is filled": ({4: 5, 7: 1}, [(4, 4)], [5, -5, 0, 1]),
    "a long gap starts a run": ({4: 5, 8: 1}, [(4, 1), (3, 1)], [5, -4]),
}


@pytest.mark.parametrize(("counts", "spans", "deltas"), SPANS.values(), ids=SPANS)
def test_spans_and_deltas(counts, spans, deltas):
    """Runs of buckets are told by the gap before them, counts by their differences."""
    assert spans_and_deltas(counts) == (spans, deltas)


@given(
    counts=st.dictionaries(st.integers(-5_000, 5_000), st.integers(1, 2**40)),
    text=st.text(st.characters()),
    number=st.floats(allow_nan=False),
)
def test_anything_survives(parse_delimited, counts, text, number):
    """Buckets, labels and figures come back as they were; lone surrogates become `?`."""
    series = HistogramSeries((("a", text),), sum(counts.values()), number, (), native=counts)
    (family,) = parse_delimited(Protobuf().render([Family("h", "histogram", text, [series])]))
    metric, readable = family.metric[0], text.encode("utf-8", "replace").decode()
    assert native_buckets(metric.histogram) == counts
    assert (metric.histogram.sample_count, metric.histogram.sample_sum) == (series.count, number)
    assert (family.help, metric.label[0].value) == (readable, readable)
