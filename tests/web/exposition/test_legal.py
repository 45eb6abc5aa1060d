"""Nothing reaches the page that would cost a scraper the page."""

import pytest

from otel_latency.records import Family, HistogramSeries, SummarySeries, ValueSeries
from otel_latency.web.exposition import legal


def gauge(name, *labels, value=1.0, kind="gauge"):
    return Family(name, kind, "", [ValueSeries(labels, value)])


def histogram(buckets=((1.0, 1),), count=1, total=1.0, labels=(), name="h"):
    return Family(name, "histogram", "", [HistogramSeries(labels, count, total, buckets)])


def summary(quantiles=((0.5, 1.0),), total=1.0, labels=(), name="s"):
    return Family(name, "summary", "", [SummarySeries(labels, 1, total, quantiles)])


SHOWN = {
    "a plain gauge": gauge("up"),
    "a colon, as in recording rules": gauge("job:up:sum"),
    "a counter": gauge("hits_total", kind="counter"),
    "an infinite counter": gauge("hits_total", value=float("inf"), kind="counter"),
    "a gauge that is not a number": gauge("g", value=float("nan")),
    "any text as label value": gauge("g", ("a", '"\\\n\x00\ud800 {}%s')),
    "an empty family": Family("g", "gauge", "", []),
    "a histogram without buckets": histogram(()),
    "a negative sum": histogram(((-1.0, 1), (1.0, 1)), 1, -3.0),
    "an empty summary": summary(((0.5, float("nan")),), 0.0),
    "le on a gauge": gauge("g", ("le", "1")),
}
HIDDEN = {
    "an empty name": gauge(""),
    "a name with a newline": gauge("a\nb 1"),
    "a name with a final newline": gauge("a\n"),
    "a dotted name": gauge("http.server"),
    "a name that starts with a digit": gauge("1up"),
    "a counter without _total": gauge("hits", kind="counter"),
    "a counter that is only _total": gauge("_total", kind="counter"),
    "an unknown type": gauge("g", kind="info"),
    "a type that its series are not": Family("g", "gauge", "", histogram().series),
    "a falling counter": gauge("hits_total", value=-1.0, kind="counter"),
    "a counter that is not a number": gauge("hits_total", value=float("nan"), kind="counter"),
    "a dotted label": gauge("g", ("a.b", "x")),
    "a reserved label": gauge("g", ("__name__", "x")),
    "a label twice": gauge("g", ("a", "x"), ("a", "y")),
    "le on a histogram": histogram(labels=(("le", "1"),)),
    "quantile on a summary": summary(labels=(("quantile", "1"),)),
    "falling buckets": histogram(((1.0, 2), (2.0, 1)), 2),
    "a negative bucket": histogram(((1.0, -1),), 1),
    "fewer in all than in a bucket": histogram(((1.0, 2),), 1),
    "bounds out of order": histogram(((2.0, 1), (1.0, 1))),
    "a bound twice": histogram(((1.0, 1), (1.0, 1))),
    "a bound that is not finite": histogram(((1.0, 1), (float("inf"), 1))),
    "a histogram's sum that is not a number": histogram(total=float("nan")),
    "a quantile above one": summary(((1.5, 1.0),)),
    "a quantile that is not a number": summary(((float("nan"), 1.0),)),
}


@pytest.mark.parametrize("family", SHOWN.values(), ids=SHOWN)
def test_shown(family):
    """What the formats can carry passes as it is."""
    assert legal([family]) == ([family], 0)


@pytest.mark.parametrize("family", HIDDEN.values(), ids=HIDDEN)
def test_hidden(family):
    """What would break a page is left out and counted."""
    shown = legal([family])
    assert ([series for kept in shown.families for series in kept.series], shown.hidden) == ([], len(family.series))


def test_only_the_illegal_series_is_lost():
    """A bad series does not take its family with it."""
    good, bad = ValueSeries((("a", "x"),), 1.0), ValueSeries((("a.b", "x"),), 1.0)
    shown = legal([Family("g", "gauge", "h", [good, bad])])
    assert shown == ([Family("g", "gauge", "h", [good])], 1)


def test_a_series_appears_once():
    """Of two series with the same labels the first one stays."""
    first, second = ValueSeries((("a", "x"),), 1.0), ValueSeries((("a", "x"),), 2.0)
    assert legal([Family("g", "gauge", "h", [first, second])]) == ([Family("g", "gauge", "h", [first])], 1)


CLASHES = {
    "the same name": (gauge("x"), gauge("x")),
    "a histogram's count": (histogram(name="x"), gauge("x_count")),
    "a gauge in the way of a histogram": (gauge("x_sum"), histogram(name="x")),
    "a gauge called like a counter": (gauge("x_total", kind="counter"), gauge("x_total")),
    "a creation time": (summary(name="x"), gauge("x_created")),
}


@pytest.mark.parametrize(("first", "second"), CLASHES.values(), ids=CLASHES)
def test_names_belong_to_the_first(first, second):
    """A family that would show a sample name of an earlier one is left out."""
    assert legal([first, second]) == ([first], 1)
