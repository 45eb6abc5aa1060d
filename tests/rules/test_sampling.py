"""The agent's series as a scrape would have stored them."""

from __future__ import annotations

from math import isnan

from otel_latency.records import Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.rules.demand import Demand, Retention
from otel_latency.rules.promql.nodes import Matcher, MatchOp
from otel_latency.rules.sampling import Sampler
from otel_latency.rules.series import SeriesTable

EVERYTHING = (Matcher("__name__", MatchOp.REGEX, ".+"),)
STAGE = (("service", "bot"), ("stage", "llm"))
HISTOGRAM = HistogramSeries(STAGE, 5, 2.5, [(0.005, 1), (1.0, 4)])
SUMMARY = SummarySeries(STAGE, 5, 2.5, [(0.5, 0.4), (0.99, float("nan"))])


def make(*wanted, target=None):
    retention = Retention(wanted or [Demand(EVERYTHING, 60_000)], sample_ms=1_000, margin_ms=0, max_bytes=1 << 20)
    table = SeriesTable(retention)
    return table, Sampler(table, retention.asks_for, target or {})


def shown(table):
    """Every series as text, with its samples."""
    found = {}
    for series in table:
        labels = dict(series.labels)
        name = labels.pop("__name__")
        inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
        found[f"{name}{{{inner}}}" if inner else name] = list(zip(series.times, series.values, strict=True))
    return found


def test_text_model():
    """Histograms and summaries are taken apart as on the page, with bounds spelled as Go spells them."""
    table, sampler = make()
    sampler.sample([Family("lat", "histogram", "", [HISTOGRAM]), Family("calls_total", "counter", "", [])], 1_000)
    assert shown(table) == {
        'lat_bucket{le="0.005",service="bot",stage="llm"}': [(1_000, 1.0)],
        'lat_bucket{le="1.0",service="bot",stage="llm"}': [(1_000, 4.0)],
        'lat_bucket{le="+Inf",service="bot",stage="llm"}': [(1_000, 5.0)],
        'lat_sum{service="bot",stage="llm"}': [(1_000, 2.5)],
        'lat_count{service="bot",stage="llm"}': [(1_000, 5.0)],
        "up": [(1_000, 1.0)],
    }


def test_summary():
    """A quantile without observations is a sample all the same: NaN, as on the page."""
    table, sampler = make()
    sampler.sample([Family("win", "summary", "", [SUMMARY])], 1_000)
    found = shown(table)
    assert found['win{quantile="0.5",service="bot",stage="llm"}'] == [(1_000, 0.4)]
    assert isnan(found['win{quantile="0.99",service="bot",stage="llm"}'][0][1])
    assert found['win_count{service="bot",stage="llm"}'] == [(1_000, 5.0)]


def test_only_what_rules_ask_for():
    """Of a histogram the rule asks for the count: nothing else is kept."""
    table, sampler = make(Demand((Matcher("__name__", MatchOp.EQUAL, "lat_count"),), 0))
    sampler.sample([Family("lat", "histogram", "", [HISTOGRAM]), Family("win", "summary", "", [SUMMARY])], 1_000)
    assert list(shown(table)) == ['lat_count{service="bot",stage="llm"}']


def gauge(name="depth", **labels):
    return Family(name, "gauge", "", [ValueSeries(tuple(labels.items()), 7.0)])


def test_stale():
    """A series that is shown no longer has ended at once, and begins again when it comes back."""
    table, sampler = make()
    for at_ms, families in ((1_000, [gauge()]), (2_000, []), (3_000, [])):
        sampler.sample(families, at_ms)
    (depth,) = table.select((Matcher("__name__", MatchOp.EQUAL, "depth"),))
    assert [depth.newest(at_ms, 0) for at_ms in (1_000, 1_999, 2_000)] == [0, 0, -1]
    sampler.sample([gauge()], 4_000)
    assert depth.newest(4_000, 0) == 1


def test_target_labels():
    """Target labels are added, and a label of the same name steps aside, as in a scrape."""
    table, sampler = make(target={"job": "agent", "pod": "a-1"})
    sampler.sample([gauge(job="importer")], 1_000)
    assert list(shown(table)) == ['depth{exported_job="importer",job="agent",pod="a-1"}', 'up{job="agent",pod="a-1"}']


def counter(value, created):
    return Family("calls_total", "counter", "", [ValueSeries((), value, created)])


def test_born_between_samples():
    """A counter that began after the last sample starts there with zero, so that its first increment counts."""
    table, sampler = make()
    sampler.sample([], 1_000)
    sampler.sample([counter(3.0, created=1.5)], 2_000)
    assert shown(table)["calls_total"] == [(1_000, 0.0), (2_000, 3.0)]


def test_older_than_the_agent():
    """A counter that was there before the first sample has no zero: nobody knows when its increments were."""
    table, sampler = make()
    sampler.sample([counter(3.0, created=0.5)], 1_000)
    assert shown(table)["calls_total"] == [(1_000, 3.0)]


def test_other_bounds():
    """A histogram whose bounds change goes on under the bounds that it has."""
    table, sampler = make()
    sampler.sample([Family("lat", "histogram", "", [HISTOGRAM])], 1_000)
    sampler.sample([Family("lat", "histogram", "", [HistogramSeries(STAGE, 6, 3.0, [(2.0, 6)])])], 2_000)
    found = shown(table)
    assert found['lat_bucket{le="0.005",service="bot",stage="llm"}'] == [(1_000, 1.0)]
    assert found['lat_bucket{le="2.0",service="bot",stage="llm"}'] == [(2_000, 6.0)]
    assert found['lat_count{service="bot",stage="llm"}'] == [(1_000, 5.0), (2_000, 6.0)]


def test_other_rules():
    """After a reload what is still shown goes on, what is not asked for is gone, and what vanished has ended."""
    table, sampler = make()
    sampler.sample([gauge("depth"), gauge("width")], 1_000)
    sampler.retain(lambda name: name == "depth")
    sampler.sample([gauge("depth"), gauge("width")], 2_000)
    assert shown(table)["depth"] == [(1_000, 7.0), (2_000, 7.0)]
    (width,) = table.select((Matcher("__name__", MatchOp.EQUAL, "width"),))
    assert width.newest(2_000, 0) == -1
