"""The text format, read back by prometheus_client's parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.web.exposition import Text

INF, NAN = float("inf"), float("nan")


def render(*families):
    return Text().render(families).decode()


def test_page():
    """Every type in the shape that Prometheus documents."""
    labels = (("service", "bot"),)
    page = render(
        Family("up", "gauge", "Whether it is up.", [ValueSeries((), 1)]),
        Family("hits_total", "counter", "Hits.", [ValueSeries(labels, 12.5, created=1.7e9)]),
        Family("odd", "untyped", "", [ValueSeries(labels, NAN)]),
        Family("s_seconds", "summary", "S.", [SummarySeries(labels, 3, 0.75, ((0.5, 0.25), (0.99, INF)))], "seconds"),
        Family(
            "h_seconds",
            "histogram",
            "H.",
            [HistogramSeries(labels, 3, 0.75, ((0.1, 1), (1.0, 2)), exemplar=Exemplar(0.5, "ab", "cd", 1.0))],
        ),
    )
    assert page.splitlines() == [
        "# HELP up Whether it is up.",
        "# TYPE up gauge",
        "up 1",
        "# HELP hits_total Hits.",
        "# TYPE hits_total counter",
        'hits_total{service="bot"} 12.5',
        "# TYPE odd untyped",
        'odd{service="bot"} NaN',
        "# HELP s_seconds S.",
        "# TYPE s_seconds summary",
        's_seconds{service="bot",quantile="0.5"} 0.25',
        's_seconds{service="bot",quantile="0.99"} +Inf',
        's_seconds_sum{service="bot"} 0.75',
        's_seconds_count{service="bot"} 3',
        "# HELP h_seconds H.",
        "# TYPE h_seconds histogram",
        'h_seconds_bucket{service="bot",le="0.1"} 1',
        'h_seconds_bucket{service="bot",le="1.0"} 2',
        'h_seconds_bucket{service="bot",le="+Inf"} 3',
        'h_seconds_sum{service="bot"} 0.75',
        'h_seconds_count{service="bot"} 3',
    ]


NUMBERS = {2: "2", 1.0: "1.0", 1e-7: "1e-07", 1e22: "1e+22", 0.1 + 0.2: "0.30000000000000004", -INF: "-Inf"}


@pytest.mark.parametrize(("value", "shown"), NUMBERS.items())
def test_numbers(value, shown):
    """A value keeps every digit that makes it the value it is."""
    assert f"g {shown}\n" in render(Family("g", "gauge", "", [ValueSeries((), value)]))


BOUNDS = {0.005: "0.005", 1.0: "1.0", 100000.0: "100000.0", 1e6: "1e+06", 2.5e6: "2.5e+06", 1e-5: "1e-05"}


@pytest.mark.parametrize(("bound", "shown"), BOUNDS.items())
def test_bounds(bound, shown):
    """A bound is spelled as Go spells it, so that text and protobuf make the same series."""
    assert f'le="{shown}"' in render(Family("h", "histogram", "", [HistogramSeries((), 1, 1, ((bound, 1),))]))


def test_a_template_is_filled_anew():
    """What is remembered of a series is its labels, never its numbers."""
    text = Text()
    pages = [text.render([Family("g", "gauge", "", [ValueSeries((("a", "x"),), n)])]).decode() for n in (1, 2)]
    assert pages == ["# TYPE g gauge\n" + f'g{{a="x"}} {n}\n' for n in (1, 2)]


label_text = st.text(st.characters())  # with surrogates and control characters
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(help_text=st.text(), value=label_text, number=st.floats())
def test_any_text_survives(help_text, value, number):
    """Whatever a label holds, a strict parser reads that one label and nothing else; lone surrogates become `?`."""
    family = Family("g", "gauge", help_text, [ValueSeries((("a", value), ("b", "%s")), number)])
    (parsed,) = text_string_to_metric_families(render(family))
    readable = value.encode("utf-8", "replace").decode()
    assert [(sample.name, sample.labels) for sample in parsed.samples] == [("g", {"a": readable, "b": "%s"})]
    assert repr(parsed.samples[0].value) == repr(number)


@given(value=label_text, quantiles=st.lists(finite, min_size=3, max_size=3), total=finite)
def test_any_summary_survives(value, quantiles, total):
    """Quantiles, sum and count come back exactly."""
    pairs = tuple(zip((0.5, 0.9, 0.99), quantiles, strict=True))
    (parsed,) = text_string_to_metric_families(
        render(Family("s", "summary", "h", [SummarySeries((("a", value),), 7, total, pairs)]))
    )
    assert [sample.value for sample in parsed.samples] == [*quantiles, total, 7]
    assert {sample.labels["a"] for sample in parsed.samples} == {value.encode("utf-8", "replace").decode()}


def test_a_hostile_help_text():
    """A help text cannot start a line of its own."""
    assert render(Family("g", "gauge", "a\\b\nup 1", [])).splitlines() == [
        r"# HELP g a\\b\nup 1",
        "# TYPE g gauge",
    ]
