"""Sessions are made of turns: how many run, and how they ended."""

from __future__ import annotations

import json

import pytest
from traces import LLM, START_NS, row

from otel_latency.aggregate.sessions import MAX_TURNS, Sessions, session_json
from otel_latency.aggregate.stages import build
from otel_latency.insight.conversations import conversations
from otel_latency.insight.turns import request_of_turn


def turn(start_ms=0.0, length_ms=1000.0, *, session="s1", status="ok", llm_ms=0.0, service="bot", **measures):
    end = start_ms + length_ms
    own = row("", start_ms, end, span=1, parent=0, turn="answer", session=session, status=status, service=service)
    calls = [row("llm", start_ms, start_ms + llm_ms, span=2, llm=LLM, service=service, **measures)] if llm_ms else []
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
    """The latest first; the first call of its model against the median of the later ones, and against its prompt."""
    sessions = Sessions()
    said = {"output_tokens": 10.0, "cost_usd": 0.25}
    for number, (llm_ms, status) in enumerate([(900, "ok"), (500, "error"), (300, "ok")]):
        answered = turn(number * 2000, 1000, llm_ms=llm_ms, status=status, input_tokens=2 * llm_ms, **said)
        sessions.add(answered, float(number))
    sessions.add(turn(session="s2"), 5.0)
    latest, first = map(session_json, sessions.active())
    assert first == {
        "session": "s1",
        "service": "bot",
        "start": START_NS / 1e9,
        "end": START_NS / 1e9 + 5,
        "duration_seconds": 5.0,
        "turns": 3,
        "failed_turns": 1,
        "mean_turn_seconds": 1.0,
        "error_ratio": 1 / 3,
        "status": "completed",
        "mean_first_token_seconds": None,
        "mean_first_audio_seconds": None,
        "llm_calls": 3,
        "first_llm_seconds": 0.9,
        "later_llm_seconds": 0.4,
        "kv_cache_speedup": 2.25,
        "prompt_correlation": pytest.approx(1.0),
        "slope_ms_per_token": pytest.approx(0.5),
        "trend": "unknown",
        "trend_ms_per_request": pytest.approx(-200.0),
        "input_tokens": 3400.0,
        "output_tokens": 30.0,
        "cost_usd": 0.75,
    }
    assert json.loads(json.dumps(first)) == first
    assert (latest["session"], latest["first_llm_seconds"], latest["later_llm_seconds"]) == ("s2", None, None)


def test_what_a_session_shows_is_what_the_command_line_shows():
    """The same requests give the same course, in whatever order their turns became final."""
    turns = [turn(n * 2000, llm_ms=400 + 7 * (n * n % 11), input_tokens=100 + 30 * n) for n in range(12)]
    sessions = Sessions()
    for one in reversed(turns):
        sessions.add(one, 0.0)
    (shown,) = map(session_json, sessions.active())
    requests = [request_of_turn(one, one.stages[0].measures["input_tokens"]) for one in turns]
    expected = conversations(requests)[0].course
    assert expected.prompts
    assert (shown["first_llm_seconds"], shown["later_llm_seconds"]) == (expected.first_llm, expected.later_llm)
    assert (shown["kv_cache_speedup"], shown["trend"]) == (expected.speedup, expected.trend)
    assert (shown["prompt_correlation"], shown["slope_ms_per_token"]) == pytest.approx(
        (expected.prompts.correlation, 1000 * expected.prompts.slope)
    )


def test_the_first_call_of_a_long_session_is_not_forgotten():
    """What came between it and the turns that are remembered is."""
    sessions = Sessions()
    for number in range(MAX_TURNS + 50):
        sessions.add(turn(number * 2000, llm_ms=400 if number else 2000), 0.0)
    (shown,) = map(session_json, sessions.active())
    assert (shown["first_llm_seconds"], shown["later_llm_seconds"], shown["kv_cache_speedup"]) == (2.0, 0.4, 5.0)
    assert shown["turns"] == MAX_TURNS + 50


def test_a_call_of_several_in_a_turn():
    """Their time and tokens are added up; the prompt is that of the first."""
    own = row("", 0, 1000, span=1, parent=0, turn="answer", session="s1")
    calls = [
        row("llm", 500, 700, span=3, llm=LLM, input_tokens=300, cost_usd=0.5),
        row("llm", 0, 400, span=2, llm=LLM, input_tokens=200, output_tokens=20),
    ]
    sessions = Sessions()
    sessions.add(build(own, [own, *calls]), 0.0)
    (one,) = sessions.active()
    assert (one.latest[0].llm_seconds, one.latest[0].prompt_tokens) == (pytest.approx(0.6), 200)
    assert (one.input_tokens, one.output_tokens, one.cost_usd) == (500, 20, 0.5)


def test_memory_is_bounded():
    """The session that was quiet longest is over early."""
    sessions = Sessions(max_sessions=2)
    for number in range(4):
        sessions.add(turn(session=f"s{number}"), float(number))
    assert [one.session for one in sessions.active()] == ["s3", "s2"]
    assert values(sessions, 4.0)[TOTAL] == {("bot", "completed"): 2}


def test_the_counter_goes_on_from_a_former_run():
    """What else was counted there is none of its business."""
    sessions = Sessions(idle=10.0)
    before = {(TOTAL, (("outcome", "completed"), ("service", "bot"))): 5.0, ("other_total", (("service", "bot"),)): 1.0}
    sessions.restore(before)
    sessions.add(turn(), 0.0)
    assert values(sessions, 20.0)[TOTAL] == {("bot", "completed"): 6}
