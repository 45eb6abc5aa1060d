"""prometheus_client's metrics become our families without loss."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    generate_latest,
)
from prometheus_client.core import GaugeHistogramMetricFamily, SummaryMetricFamily, UntypedMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_latency.web.exposition import OpenMetrics, Text, legal
from otel_latency.web.registry import families


class Fixed:
    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self):
        return self.metrics


def filled_registry():
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests.", ["code"], registry=registry)
    requests.labels("200").inc(3)
    requests.labels('5"\\\n').inc(1.5)
    Gauge("level", "Level.", registry=registry).set(-2)
    delay = Histogram("delay", "Delay.", ["path"], unit="seconds", buckets=(0.1, 1), registry=registry)
    for seconds in (0.05, 0.5, 5):
        delay.labels("/").observe(seconds)
    Summary("size_bytes", "Size.", registry=registry).observe(10)
    Counter("silent", "Nothing yet.", ["a"], registry=registry)
    return registry


def samples(parsed):
    return {
        (s.name, tuple(sorted(s.labels.items())), s.value)
        for family in parsed
        for s in family.samples
        if not s.name.endswith("_created")
    }


def test_as_the_client_writes_text():
    """Our page of a registry says what prometheus_client's own says."""
    registry = filled_registry()
    ours = parse_text(Text().render(families(registry)).decode())
    assert samples(ours) == samples(parse_text(generate_latest(registry).decode()))


def test_as_the_client_writes_openmetrics():
    """Metadata and creation times included."""
    registry = filled_registry()
    ours = list(parse_openmetrics(OpenMetrics().render(families(registry)).decode()))
    theirs = list(parse_openmetrics(generate_openmetrics(registry).decode()))
    assert [(f.name, f.type, f.documentation, f.unit) for f in ours] == [
        (f.name, f.type, f.documentation, f.unit) for f in theirs
    ]
    assert [{(s.name, s.value) for s in f.samples} for f in ours] == [
        {(s.name, s.value) for s in f.samples} for f in theirs
    ]


def test_the_lesser_types():
    """An info and a state set are gauges, an untyped stays one, a gauge histogram is passed over."""
    registry = CollectorRegistry()
    Info("build", "Build.", registry=registry).info({"version": "1"})
    Enum("state", "State.", states=["on", "off"], registry=registry).state("on")
    quantiles = SummaryMetricFamily("old", "Old.", count_value=2, sum_value=3.0)
    quantiles.add_sample("old", {"quantile": "0.5"}, 1.5)
    registry.register(
        Fixed(
            UntypedMetricFamily("odd", "Odd.", value=4),
            GaugeHistogramMetricFamily("gh", "GH.", [("+Inf", 1)], 1),
            quantiles,
        )
    )
    shown, hidden = legal(families(registry))
    assert hidden == 0
    assert [line for line in Text().render(shown).decode().splitlines() if not line.startswith("#")] == [
        'build_info{version="1"} 1.0',
        'state{state="on"} 1',
        'state{state="off"} 0',
        "odd 4",
        'old{quantile="0.5"} 1.5',
        "old_sum 3.0",
        "old_count 2",
    ]
