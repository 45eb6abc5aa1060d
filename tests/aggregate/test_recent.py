"""A span that is sent again is dropped, for as long as promised."""

from __future__ import annotations

from otel_latency.aggregate.recent import RecentSpans
from otel_latency.native import GENERATION
from otel_latency.records import Profile

PROFILE = Profile("shop")


def row(number: int):
    return PROFILE, b"trace of 16 byte", number.to_bytes(8, "big"), b"", 0, 1, None


def test_a_span_is_fresh_once():
    """In one request or in the next, the second copy goes."""
    recent = RecentSpans()
    first, second = [row(1), row(2), row(1)], [row(2), row(3)]
    assert recent.fresh(first) == [row(1), row(2)]
    assert recent.fresh(second) == [row(3)]
    assert recent.fresh([]) == []


def test_the_same_span_id_in_another_trace_is_another_span():
    """Identity is the pair of ids."""
    recent = RecentSpans()
    other = (PROFILE, b"other of 16 byte", *row(1)[2:])
    assert recent.fresh([row(1)]) == [row(1)]
    assert recent.fresh([other]) == [other]


def test_a_span_is_remembered_for_thirty_seconds_at_least():
    """Generations turn over by age; the old one is still asked."""
    recent = RecentSpans()
    recent.turn(0.0)
    recent.fresh([row(1)])
    recent.turn(30.0)
    assert recent.fresh([row(1)]) == []
    recent.turn(60.0)
    assert recent.fresh([row(1)]) == [row(1)]


def test_memory_is_bounded_by_count():
    """A full generation turns over early; the last 65,536 spans are always remembered."""
    recent = RecentSpans()
    recent.turn(0.0)
    for start in range(0, 3 * GENERATION, GENERATION):
        recent.fresh([row(n) for n in range(start, start + GENERATION)])
        recent.turn(1.0)
    assert recent.fresh([row(2 * GENERATION), row(3 * GENERATION - 1)]) == []
    assert recent.fresh([row(0)]) == [row(0)]
