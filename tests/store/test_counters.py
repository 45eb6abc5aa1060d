from store.past import NOW

from otel_latency.records import Family, HistogramSeries, ValueSeries
from otel_latency.store.counters import counters_of, insert, read

TURNS = "otel_latency_turns_total"


def test_last_values(connection):
    """Each counter comes back with the value that was written last, by labels in the order of their names."""
    labels = (("service", "é"), ("status", "ok"))
    insert(connection, [(TURNS, labels, 1.0), ("other_total", (), 0.5)], NOW)
    insert(connection, [(TURNS, labels, 7.0)], NOW + 1)
    assert {(TURNS, labels): 7.0, ("other_total", ()): 0.5} == read(connection)


def test_only_counters():
    """Gauges and histograms are none."""
    labels = (("status", "ok"), ("service", "a"))
    families = [
        Family(TURNS, "counter", "", [ValueSeries(labels, 3.0)]),
        Family("g", "gauge", "", [ValueSeries((), 3.0)]),
        Family("h", "histogram", "", [HistogramSeries((), 1, 1.0, [])]),
    ]
    assert [(TURNS, (("service", "a"), ("status", "ok")), 3.0)] == list(counters_of(families))
