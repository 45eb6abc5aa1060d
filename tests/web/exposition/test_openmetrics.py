"""OpenMetrics, read back by prometheus_client's strict parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.web.exposition import OpenMetrics

TRACE = Exemplar(0.5, "ab" * 16, "cd" * 8, 1_700_000_000.25)
LABELS = (("service", "bot"),)


def render(*families):
    return OpenMetrics().render(families).decode()


def histogram(**fields):
    values = {"labels": LABELS, "count": 3, "sum": 0.75, "buckets": ((0.1, 1), (1.0, 2)), **fields}
    return Family("h_seconds", "histogram", "", [HistogramSeries(**values)], "seconds")


def test_page():
    """Metadata, creation times, exemplars, units and the end mark."""
    page = render(
        Family("hits_total", "counter", 'Say "hits".', [ValueSeries(LABELS, 12.5, created=1.5)]),
        Family("odd", "untyped", "", [ValueSeries((), 1)], "seconds"),
        histogram(exemplar=TRACE, created=1.5),
        Family("s_seconds", "summary", "", [SummarySeries(LABELS, 3, 0.75, ((0.5, 0.25),), created=1.5)]),
    )
    assert page.splitlines() == [
        "# TYPE hits counter",
        r"# HELP hits Say \"hits\".",
        'hits_total{service="bot"} 12.5',
        'hits_created{service="bot"} 1.5',
        "# TYPE odd unknown",
        "odd 1",
        "# TYPE h_seconds histogram",
        "# UNIT h_seconds seconds",
        'h_seconds_bucket{service="bot",le="0.1"} 1',
        (
            'h_seconds_bucket{service="bot",le="1.0"} 2 '
            f'# {{trace_id="{TRACE.trace_id}",span_id="{TRACE.span_id}"}} 0.5 1700000000.250'
        ),
        'h_seconds_bucket{service="bot",le="+Inf"} 3',
        'h_seconds_sum{service="bot"} 0.75',
        'h_seconds_count{service="bot"} 3',
        'h_seconds_created{service="bot"} 1.5',
        "# TYPE s_seconds summary",
        's_seconds{service="bot",quantile="0.5"} 0.25',
        's_seconds_sum{service="bot"} 0.75',
        's_seconds_count{service="bot"} 3',
        's_seconds_created{service="bot"} 1.5',
        "# EOF",
    ]
    assert [family.name for family in text_string_to_metric_families(page)] == ["hits", "odd", "h_seconds", "s_seconds"]


def test_empty_page():
    """A page of nothing is still a page."""
    assert render() == "# EOF\n"


def exemplars(page):
    (family,) = text_string_to_metric_families(page)
    return {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar}


def test_an_exemplar_stands_in_its_bucket():
    """A value on a bound belongs below it, one above all bounds to +Inf."""
    places = {
        value: list(exemplars(render(histogram(exemplar=TRACE._replace(value=value))))) for value in (0.1, 0.2, 9)
    }
    assert places == {0.1: ["0.1"], 0.2: ["1.0"], 9: ["+Inf"]}


UNFIT = {
    "labels beyond 128 characters": {"trace_id": "a" * 98},
    "an id that is no id": {"trace_id": 'a"} 1\n'},
    "a value that is no number": {"value": float("nan")},
    "a time that is none": {"time": float("inf")},
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_an_unfit_exemplar_is_left_out(change):
    """It costs the series nothing but the exemplar."""
    assert render(histogram(exemplar=TRACE._replace(**change))) == render(histogram())


def test_figures_below_zero():
    """OpenMetrics has no sum and no quantile below zero; the rest of such a series is shown."""
    page = render(
        histogram(sum=-2.0, buckets=((-1.0, 1), (1.0, 2))),
        Family("s", "summary", "", [SummarySeries(LABELS, 3, 1.0, ((0.5, -0.25),))]),
    )
    samples = [sample.name for family in text_string_to_metric_families(page) for sample in family.samples]
    assert samples == ["h_seconds_bucket"] * 3 + ["s_count"]


def test_a_unit_that_the_name_does_not_say():
    """A unit is told only where the name ends in it, as the format demands."""
    page = render(Family("tokens_total", "counter", "", [ValueSeries((), 1)], "token"))
    assert page.splitlines() == ["# TYPE tokens counter", "tokens_total 1", "# EOF"]


@given(
    value=st.text(st.characters()),
    number=st.floats(min_value=0),
    counts=st.lists(st.integers(0, 2**60), min_size=3, max_size=3),
)
def test_any_text_survives(value, number, counts):
    """The strict parser reads back labels and figures, whatever they are."""
    labels = (("a", value),)
    low, high, total = sorted(counts)
    page = render(
        Family("c_total", "counter", value, [ValueSeries(labels, number)]),
        Family("h", "histogram", value, [HistogramSeries(labels, total, number, ((0.5, low), (1.5, high)))]),
    )
    counter, histogram_ = text_string_to_metric_families(page)
    readable = value.encode("utf-8", "replace").decode()
    assert [(s.labels, s.value) for s in counter.samples] == [({"a": readable}, number)]
    assert [s.value for s in histogram_.samples] == [low, high, total, number, total]
    assert {s.labels["a"] for s in histogram_.samples} == {readable}
