"""Who asks is told, and can break nothing."""

from __future__ import annotations

import pytest

from otel_latency.instrument.guard import guard
from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.session import session
from otel_latency.instrument.stage import stage
from otel_latency.instrument.subscribe import subscribe
from otel_latency.instrument.turn import turn


@pytest.fixture
def heard():
    events = []
    unsubscribe = subscribe(events.append)
    yield events
    unsubscribe()


def work():
    with session("s1"), turn("answer", request_id="r1"):
        with stage("retrieve") as retrieve:
            retrieve.milestone("halfway", at=retrieve.start_monotonic_ns + 1_000_000_000)
        with llm_call("draft", provider="openai") as call:
            call.interrupt("barge_in")


EVENTS = [
    ("session_started", "s1", "ok"),
    ("turn_started", "answer", "ok"),
    ("stage_completed", "retrieve", "ok"),
    ("llm_completed", "draft", "interrupted"),
    ("turn_completed", "answer", "ok"),
    ("session_completed", "s1", "ok"),
]


def test_events(spans, heard):
    """Each start and end is told once, in order, with its ids."""
    work()
    assert EVENTS == [(event.event, event.name, event.status) for event in heard]
    assert {"s1"} == {event.session for event in heard}
    assert {"r1"} == {event.request_id for event in heard[1:-1]}
    assert {"halfway": 1.0} == heard[2].milestones
    assert f"{spans[0].context.span_id:016x}" == heard[2].span_id


def test_events_without_a_provider(heard):
    """Whoever listens hears the same without any OpenTelemetry set up."""
    work()
    assert EVENTS == [(event.event, event.name, event.status) for event in heard]
    assert {""} == {event.trace_id for event in heard}


def test_one_event_only(spans):
    """A subscriber may ask for one kind, and stop."""
    events = []
    unsubscribe = subscribe(events.append, event="turn_completed")
    work()
    unsubscribe()
    work()
    assert ["turn_completed"] == [event.event for event in events]


def test_a_subscriber_that_raises(spans, heard):
    """What a subscriber raises is counted; the work and the next subscriber go on."""

    def broken(event):
        raise RuntimeError("broken")

    unsubscribe = subscribe(broken)
    after = []
    also = subscribe(after.append)
    work()
    unsubscribe()
    also()
    assert len(EVENTS) == guard.faults.pop("subscriber") == len(after)
