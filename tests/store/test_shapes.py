from otel_latency.sketch import Sketch
from otel_latency.store.shapes import distribution


def test_distribution():
    """Count, sum, mean, ends and percentiles."""
    expected = {"count": 4, "sum": 10.0, "mean": 2.5, "min": 1.0, "max": 4.0, "p50": 2.0, "p90": 4.0, "p95": 4.0}
    assert {**expected, "p99": 4.0} == distribution(Sketch([1.0, 2.0, 3.0, 4.0]))


def test_nothing():
    """What nobody saw is None, which JSON can say, and not NaN, which it cannot."""
    shown = distribution(Sketch())
    assert (0, 0.0) == (shown.pop("count"), shown.pop("sum"))
    assert {None} == set(shown.values())
