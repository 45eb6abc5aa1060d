"""Sessions: turns that belong together."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import baggage

from otel_latency.instrument import session as sessions
from otel_latency.instrument.session import session
from otel_latency.instrument.subscribe import subscribe
from otel_latency.instrument.turn import turn


def test_two_ways_in(spans):
    """`with` and `async with`; afterwards nothing is left."""

    def one():
        with session("sync"), turn("answer"):
            pass

    async def main():
        async with session("async"):
            with turn("answer"):
                pass

    one()
    asyncio.run(main())
    assert ["sync", "async"] == [span.attributes["session.id"] for span in spans]
    assert {} == baggage.get_all()


def test_known_sessions_are_bounded(spans, monkeypatch):
    """Sessions that never end are forgotten, the oldest first."""
    monkeypatch.setattr(sessions, "MAX_KNOWN", 3)
    events = []
    unsubscribe = subscribe(events.append, event="session_started")
    for number in range(5):
        with turn("answer", session=f"s{number}"):
            pass
    with turn("answer", session="s4"):
        pass
    unsubscribe()
    assert [f"s{number}" for number in range(5)] == [event.name for event in events]
    assert 3 == len(sessions._started)
    sessions._started.clear()


def test_failure_passes(spans):
    """An exception ends the session and goes on its way."""
    with pytest.raises(ValueError, match="x"), session("s"):
        raise ValueError("x")
