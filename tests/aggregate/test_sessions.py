"""Sessions are made of turns: how many run, and how they ended."""

from __future__ import annotations

import pytest
from traces import LLM, START_NS, row

from otel_latency.aggregate.sessions import Sessions, session_json
from otel_latency.aggregate.stages import build


def turn(start_ms=0.0, length_ms=1000.0, *, session="s1", status="ok", llm_ms=0.0, service="bot"):
    end = start_ms + length_ms
    own = row("", start_ms, end, span=1, parent=0, turn="answer", session=session, status=status, service=service)
    calls = [row("llm", start_ms, start_ms + llm_ms, span=2, llm=LLM, service=service)] if llm_ms else []
    return build(own, [own, *calls])


def values(sessions, now):
    """Label values and value of each series, by family."""
    return {
        family.name: {tuple(value for _, value in one.labels): one.value for one in family.series}
        for family in sessions.families(now)
    }


ACTIVE, TOTAL = "otel_latency_sessions_active", "otel_latency_sessions_total"


def test_a_session_is_active_until_it_was_quiet_for_long():
    """Each turn keeps it so."""
    sessions = Sessions(idle=300)
    sessions.add(turn(), 0.0)
    sessions.add(turn(2000), 200.0)
    sessions.add(turn(session="s2"), 250.0)
    assert values(sessions, 499.9) == {ACTIVE: {("bot",): 2}, TOTAL: {}}
    assert values(sessions, 500.0) == {ACTIVE: {("bot",): 1}, TOTAL: {("bot", "completed"): 1}}
    assert values(sessions, 900.0) == {ACTIVE: {("bot",): 0}, TOTAL: {("bot", "completed"): 2}}


OUTCOMES = {
    "all went well": (["ok", "ok"], "completed"),
    "the last failed": (["ok", "error"], "error"),
    "the last took too long": (["ok", "timeout"], "error"),
    "an error in between": (["error", "ok"], "completed"),
    "the user hung up after an error": (["error", "interrupted"], "error"),
    "the user hung up": (["ok", "cancelled"], "completed"),
}


@pytest.mark.parametrize(("statuses", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
def test_the_outcome_is_that_of_the_last_turn_which_says_one(statuses, outcome):
    """Interrupted and cancelled turns say none."""
    sessions = Sessions(idle=300)
    for number, status in enumerate(statuses):
        sessions.add(turn(number * 1000, status=status), 0.0)
    assert values(sessions, 300.0)[TOTAL] == {("bot", outcome): 1}


def test_turns_may_come_out_of_order():
    """The last one is that which ended last."""
    sessions = Sessions(idle=300)
    sessions.add(turn(5000, status="error"), 0.0)
    sessions.add(turn(0, status="ok"), 0.1)
    assert values(sessions, 301.0)[TOTAL] == {("bot", "error"): 1}


def test_a_turn_without_a_session_is_none():
    """Nothing is made up."""
    sessions = Sessions()
    sessions.add(turn(session=""), 0.0)
    assert list(sessions.active()) == []


def test_services_keep_their_sessions_apart():
    """The same id may mean another conversation."""
    sessions = Sessions()
    sessions.add(turn(), 0.0)
    sessions.add(turn(service="other"), 0.0)
    assert values(sessions, 1.0)[ACTIVE] == {("bot",): 1, ("other",): 1}


def test_a_session_as_json():
    """The latest first; the first call of its model against the later ones."""
    sessions = Sessions()
    for number, (llm_ms, status) in enumerate([(900, "ok"), (500, "error"), (300, "ok")]):
        sessions.add(turn(number * 2000, 1000, llm_ms=llm_ms, status=status), float(number))
    sessions.add(turn(session="s2"), 5.0)
    latest, first = map(session_json, sessions.active())
    assert first == {
        "session": "s1",
        "service": "bot",
        "start": START_NS / 1e9,
        "end": START_NS / 1e9 + 5,
        "duration_seconds": 5.0,
        "turns": 3,
        "mean_turn_seconds": 1.0,
        "error_ratio": 1 / 3,
        "status": "completed",
        "first_llm_seconds": 0.9,
        "later_llm_seconds": 0.4,
    }
    assert (latest["session"], latest["first_llm_seconds"], latest["later_llm_seconds"]) == ("s2", None, None)


def test_memory_is_bounded():
    """The session that was quiet longest is over early."""
    sessions = Sessions(max_sessions=2)
    for number in range(4):
        sessions.add(turn(session=f"s{number}"), float(number))
    assert [one.session for one in sessions.active()] == ["s3", "s2"]
    assert values(sessions, 4.0)[TOTAL] == {("bot", "completed"): 2}
