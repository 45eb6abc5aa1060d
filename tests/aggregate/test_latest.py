"""The latest turns are found, replaced, and let go of."""

from __future__ import annotations

from otel_latency.aggregate.latest import LatestTurns
from otel_latency.aggregate.stages import build
from otel_latency.records import Profile

SECOND = 1_000_000_000
TURN, STAGE = Profile("bot", turn="answer"), Profile("bot", stage="llm")


def turn(number: int, stages: int = 1, trace: int = 0):
    trace_id, span_id = bytes([trace or number]) * 16, bytes([number]) * 8
    own = (TURN, trace_id, span_id, b"", SECOND, 2 * SECOND, None)
    below = [
        (STAGE, trace_id, bytes([number, 100 + n]) * 4, span_id, SECOND, 2 * SECOND, None) for n in range(1, stages + 1)
    ]
    return build(own, [own, *below])


def test_the_last_comes_first_and_the_first_goes():
    """Beyond the limit the oldest is let go of."""
    latest, turns = LatestTurns(max_turns=2), [turn(number) for number in (1, 2, 3)]
    for one in turns:
        latest.put(one)
    assert list(latest) == [turns[2], turns[1]]
    assert latest.find(turns[0].trace_id) is None


def test_a_turn_that_grew_takes_its_own_place():
    """It is the same turn, with more in it."""
    latest = LatestTurns()
    for one in (turn(1), turn(2), grown := turn(1, stages=3)):
        latest.put(one)
    assert [len(one.stages) for one in latest] == [1, 3]
    assert latest.find(grown.trace_id, grown.span_id) is grown


def test_turns_of_one_trace_are_told_apart():
    """By the span of the turn; without one it is the last."""
    latest, first, second = LatestTurns(), turn(1, trace=7), turn(2, trace=7)
    latest.put(first)
    latest.put(second)
    assert latest.find(b"\7" * 16) is second
    assert latest.find(b"\7" * 16, first.span_id) is first
    assert latest.find(b"\7" * 16, b"x" * 8) is None


def test_large_turns_take_the_room_of_several():
    """Stages are what costs memory; the last turn is kept however large."""
    latest = LatestTurns(max_stages=10)
    for number, stages in ((1, 4), (2, 4), (3, 4)):
        latest.put(turn(number, stages))
    assert [one.span_id[0] for one in latest] == [3, 2]
    latest.put(turn(4, 30))
    assert [one.span_id[0] for one in latest] == [4]
    latest.put(turn(5, 2))
    assert [one.span_id[0] for one in latest] == [5]
