"""A turn's span, its ids and what its children in other processes get of them."""

from __future__ import annotations

import gc
import weakref
from time import monotonic_ns

from opentelemetry import baggage

from otel_latency.instrument.propagate import extract, inject
from otel_latency.instrument.session import session
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn


def test_span_of_a_turn(spans):
    """It names itself a turn and carries its session and request id."""
    with turn("answer", session="s1", request_id="r1", budget=2.0, timeout=30, channel="web") as around:
        assert ("s1", "r1") == (around.session, around.request_id)
    assert {
        "otel_latency.turn": "answer",
        "otel_latency.budget": 2.0,
        "otel_latency.timeout": 30.0,
        "session.id": "s1",
        "otel_latency.request_id": "r1",
        "channel": "web",
    } == dict(spans[0].attributes)


def test_request_id_by_itself(spans):
    """Without one given, it is the trace id; each entry of one object has its own."""
    again = turn("answer")
    with again as first:
        pass
    with again as second:
        pass
    assert [f"{span.context.trace_id:032x}" for span in spans] == [first.request_id, second.request_id]


def test_request_id_without_a_provider():
    """Also without a provider a turn has an id of its own."""
    with turn("answer") as first, turn("answer") as second:
        assert 32 == len(first.request_id)
        assert first.request_id == second.request_id  # it is one request
    with turn("answer") as third:
        assert first.request_id != third.request_id


def test_session_of_a_block(spans):
    """Turns within `session` are of that session, unless they say otherwise."""
    with session("s1"), turn("one"), turn("two", session="s2"):
        pass
    with turn("three"):
        pass
    assert ["s2", "s1", None] == [span.attributes.get("session.id") for span in spans]


def test_ids_reach_the_other_process(spans):
    """A process that was called carries the session and the request id on, as a turn and as a lone stage."""
    with turn("answer", session="s1", request_id="r1"):
        headers = inject({})
    with extract(headers), turn("work"):
        pass
    with extract(headers), stage("step"):
        assert {"session.id": "s1", "otel_latency.request_id": "r1"} == dict(baggage.get_all())
    caller, work, step = spans
    assert {caller.context.span_id} == {work.parent.span_id, step.parent.span_id}
    assert [("s1", "r1")] * 3 == [
        (span.attributes["session.id"], span.attributes["otel_latency.request_id"]) for span in spans
    ]


def test_started_before_it_was_noticed(spans):
    """A turn may begin with the end of the user's speech: its milestones count from there."""
    earlier = monotonic_ns() - 500_000_000
    with turn("answer", started_at=earlier) as around:
        with stage("tts") as tts:
            tts.milestone("first_audio", at=earlier + 750_000_000)
        assert around.elapsed >= 0.5
    assert 0.75 == spans[1].attributes["otel_latency.time_to_first_audio"]
    assert spans[1].end_time - spans[1].start_time >= 500_000_000


def test_nothing_is_left_to_the_garbage_collector(spans):
    """When a turn and its stages have ended, nothing holds them: they are freed at once."""
    gc.collect()
    gc.disable()
    try:
        with turn("answer", session="s") as whole, stage("step") as step:
            kept = [weakref.ref(whole.span), weakref.ref(step.span)]
        del whole, step
        assert [None, None] == [ref() for ref in kept]
    finally:
        gc.enable()
