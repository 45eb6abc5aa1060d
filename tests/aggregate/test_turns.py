"""Spans become turns whatever their order: shown soon, corrected while more comes, and let go of in bounded time."""

from __future__ import annotations

import gc
import json
import random
from pathlib import Path

import pytest
from traces import LLM, START_NS, TRACE, row, span_id

from otel_latency.aggregate.turn import LATE, NO_ROOT, TRUNCATED
from otel_latency.aggregate.turns import MAX_TRACE_SPANS, TurnAssembler
from otel_latency.ingest.otlp_traces import TraceDecoder

MS = 1_000_000
TESTDATA = Path(__file__).parent / "testdata"


def names(turns):
    """Of each turn its name, and its stages by name."""
    return [(turn.turn, sorted(stage.stage for stage in turn.stages)) for turn in turns]


def assembler(**options) -> TurnAssembler:
    return TurnAssembler(**({"turn_timeout": 30.0, "settle": 0.5, "grace": 5.0} | options))


ROOT = row("", 0, 1000, span=1, parent=0, turn="answer")
STT, LLM_ROW, TTS = row("stt", 0, 300, span=2), row("llm", 300, 900, span=3), row("tts", 600, 1000, span=4)


@pytest.mark.parametrize("seed", range(20))
def test_spans_arrive_in_any_order(seed):
    """In one batch or one by one."""
    spans = [ROOT, STT, LLM_ROW, TTS]
    random.Random(seed).shuffle(spans)
    turns = assembler()
    for number, span in enumerate(spans):
        turns.add([span], number * 0.1)
    assert names(turns.close(1.0).shown) == [("answer", ["llm", "stt", "tts"])]


def test_a_turn_is_shown_soon_and_final_later():
    """Each once; then nothing is held."""
    turns = assembler()
    turns.add([STT, ROOT], 0.0)
    assert turns.close(0.4) == ([], [])
    shown = turns.close(0.5)
    assert (names(shown.shown), shown.final) == ([("answer", ["stt"])], [])
    assert turns.close(5.4) == ([], [])
    last = turns.close(5.5)
    assert (last.shown, last.final) == ([], shown.shown)
    assert (turns.spans, turns.size_bytes, dict(turns.dropped)) == (0, 0, {})


def test_it_knows_which_traces_it_holds():
    """As long as anything of them may still be wanted."""
    turns = assembler()
    turns.add([STT, ROOT], 0.0)
    turns.close(0.5)
    assert (TRACE in turns, bytes(16) in turns) == (True, False)
    turns.close(5.5)
    assert TRACE not in turns


def test_a_span_that_comes_after_is_added_within_the_grace():
    """The turn is shown anew, as another revision."""
    turns = assembler()
    turns.add([STT, ROOT], 0.0)
    turns.close(0.5)
    turns.add([TTS], 0.8)
    (again,) = turns.close(1.5).shown
    assert (names([again]), again.revision, again.marks) == ([("answer", ["stt", "tts"])], 1, {LATE})
    assert turns.close(5.5).final == [again]


def test_a_turn_that_keeps_growing_is_put_together_less_and_less_often():
    """Each revision waits twice as long, so a trickle of spans costs no square of their number."""
    turns = assembler(grace=100.0)
    turns.add([ROOT], 0.0)
    shown = 0
    for number in range(100):
        turns.add([row("tool", 0, 10, span=10 + number)], 0.5 + number * 0.25)
        shown += len(turns.close(0.5 + number * 0.25).shown)
    assert shown == 6


def test_what_comes_after_the_grace_is_dropped():
    """And it does not become a turn of its own when time is up."""
    turns = assembler()
    turns.add([STT, ROOT], 0.0)
    turns.close(0.5)
    turns.close(6.0)
    turns.add([TTS], 7.0)
    assert turns.close(37.0) == ([], [])
    assert (dict(turns.dropped), turns.spans) == ({"late": 1}, 0)


def test_a_span_that_comes_twice_counts_once():
    """By its id; the first is kept."""
    turns = assembler()
    turns.add([STT, STT, ROOT, STT], 0.0)
    assert names(turns.close(0.5).shown) == [("answer", ["stt"])]
    assert dict(turns.dropped) == {"duplicate": 2}


def test_a_turn_without_a_root_is_closed_when_its_time_is_up():
    """With what came, and marked; each span puts the end off."""
    turns = assembler()
    turns.add([STT], 0.0)
    turns.add([TTS], 20.0)
    assert turns.close(49.9) == ([], [])
    closed = turns.close(50.0)
    assert names(closed.shown) == [("unknown", ["stt", "tts"])]
    assert (closed.final, closed.shown[0].marks) == (closed.shown, {NO_ROOT})


def test_silence_is_no_end_while_something_runs():
    """A long call of a model, which is known from the reports about running operations."""
    running = {TRACE}
    turns = assembler(is_running=running.__contains__)
    turns.add([STT], 0.0)
    assert turns.close(31.0) == ([], [])
    running.clear()
    turns.add([row("", 0, 60_000, span=1, parent=0, turn="answer")], 60.0)
    assert names(turns.close(60.5).shown) == [("answer", ["stt"])]


def test_two_roots_are_two_turns():
    """Each with its own spans."""
    other = row("", 2000, 3000, span=11, parent=0, turn="second")
    turns = assembler()
    turns.add([STT, ROOT, row("stt", 2000, 2300, span=12, parent=11), other], 0.0)
    assert names(turns.close(0.5).shown) == [("answer", ["stt"]), ("second", ["stt"])]
    assert [turn.turn for turn in turns.close(6.0).final] == ["answer", "second"]
    assert turns.spans == 0


def test_spans_without_their_parent_belong_to_the_turn_of_the_trace():
    """What lies between, a client that reports elsewhere, is not needed."""
    turns = assembler()
    turns.add([ROOT, row("serve", 100, 200, span=5, parent=99, service="back")], 0.0)
    assert names(turns.close(0.5).shown) == [("answer", ["serve"])]


def test_turns_of_a_conversation_are_found_below_it():
    """While it goes on, each as soon as it has ended; what heard the user goes to the reply, other work to none."""
    turns = assembler()
    found = []
    for number in range(3):
        at, ids = number * 10_000, number * 100
        turns.add(
            [
                row("user_turn", at, at + 400, span=ids + 2, parent=9999, stt_delay=0.1),
                row("llm", at + 400, at + 900, span=ids + 3, parent=ids + 1, llm=LLM),
                row("", at + 400, at + 1000, span=ids + 1, parent=9999, turn="agent_turn"),
                row("vad", at + 1200, at + 1300, span=ids + 4, parent=9999),
            ],
            number * 10.0,
        )
        found += turns.close(number * 10.0 + 0.5).shown
    assert names(found) == [("agent_turn", ["llm", "user_turn"])] * 3
    turns.add([row("session", 0, 40_000, span=9999, parent=0)], 40.0)
    turns.close(46.0)
    assert turns.close(80.0) == ([], [])
    assert (turns.spans, dict(turns.dropped)) == (0, {"outside_turn": 4})


def test_a_turn_within_a_turn_belongs_to_the_outer_one():
    """Whether it was shown before or not, it is final only as a stage."""
    turns = assembler()
    turns.add([row("", 100, 300, span=5, parent=3, turn="lookup", service="search"), LLM_ROW, ROOT], 0.0)
    turns.close(0.5)
    (final,) = turns.close(6.0).final
    assert names([final]) == [("answer", ["llm", "lookup"])]


def test_a_conversation_without_turns_is_none():
    """However long it lasted."""
    turns = assembler()
    turns.add([row("conversation", 0, 60_000, span=1, parent=0)], 0.0)
    assert turns.close(30.0) == ([], [])
    assert dict(turns.dropped) == {"outside_turn": 1}


@pytest.mark.parametrize("name", ["otel_latency", "plain_events", "pipecat", "livekit"])
def test_each_tools_trace_is_one_turn(name):
    """As a tool would send it, the session's own span last."""
    golden = json.loads((TESTDATA / f"{name}.json").read_text())
    rows, _ = TraceDecoder().decode(json.dumps(golden["spans"]).encode(), is_json=True)
    turns = assembler()
    for number, one in enumerate(rows):
        turns.add([one], number * 0.1)
    (turn,) = turns.close(2.0).shown
    assert {key: round(value, 6) for key, value in turn.milestones.items()} == golden["expected"]["milestones"]


def test_flush_closes_everything():
    """At the end of the process."""
    turns = assembler()
    turns.add([STT, ROOT, row("llm", 0, 1, span=7, parent=8, trace=bytes(range(2, 18)))], 0.0)
    assert names(turns.flush().final) == [("answer", ["stt"]), ("unknown", ["llm"])]
    assert (turns.spans, turns.size_bytes) == (0, 0)


def of_trace(number):
    trace = number.to_bytes(16, "big")
    return [row("stt", 0, 300, span=2, trace=trace), row("", 0, 900, span=1, parent=0, turn="answer", trace=trace)]


def test_memory_is_bounded_by_the_number_of_spans():
    """The trace that was silent longest is closed first: its turn is told, and what belongs to none is counted."""
    turns = assembler(max_spans=10)
    turns.add([row("orphan", 0, 1, span=1, parent=2, trace=bytes(range(3, 19)))], 0.0)
    for number in range(1, 8):
        turns.add(of_trace(number), 0.1)
    assert turns.spans == 10
    closed = turns.close(0.2)
    assert [turn.trace_id[-1] for turn in closed.final] == [1, 2]
    assert {turn.marks for turn in closed.final} == {frozenset({TRUNCATED})}
    assert dict(turns.dropped) == {"overflow": 1}


def test_a_flood_leaves_nothing_behind():
    """What was closed for want of room is not waited for, either, however many traces there were."""
    turns = assembler(max_spans=100)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1, 5_000):
        turns.add(of_trace(number), 0.0)
        if not number % 100:
            turns.close(0.1)
    turns.close(0.1)
    assert len(gc.get_objects()) - before < 100 * 20


def test_memory_is_bounded_in_bytes():
    """Long texts count with their length."""
    turns = assembler(max_bytes=20_000)
    for number in range(1, 8):
        root = of_trace(number)[1]
        turns.add([(*root[:6], {"sentences": "[" + " " * 8_000 + "]"})], 0.0)
    assert turns.size_bytes <= 20_000
    assert len(turns.close(0.1).final) == 5


def test_an_endless_trace_is_bounded():
    """Even if all it holds is in one turn that does not end."""
    turns = assembler()
    for number in range(MAX_TRACE_SPANS + 10):
        turns.add([row("tool", 0, 1, span=10 + number)], 0.0)
    assert turns.spans == 9
    assert turns.dropped["overflow"] == MAX_TRACE_SPANS + 1


def test_a_span_that_another_turn_takes_over_is_in_one_of_them():
    """Its parent never came, and the turn that it ran in is told only after another had been shown with it."""
    turns = assembler()
    turns.add([ROOT, row("lookup", 100, 300, span=7, parent=99)], 0.0)
    assert names(turns.close(0.5).shown) == [("answer", ["lookup"])]
    turns.add([row("", 0, 400, span=8, parent=0, turn="first")], 0.6)
    assert sorted(names(turns.close(1.6).shown)) == [("answer", []), ("first", ["lookup"])]
    assert sorted(names(turns.close(9.0).final)) == [("answer", []), ("first", ["lookup"])]
    assert (turns.spans, turns.size_bytes, dict(turns.dropped)) == (0, 0, {})


PHASES = {
    "showing": (0.5, lambda closed: closed.shown),
    "finishing": (20.0, lambda closed: closed.final),
}


@pytest.mark.parametrize(("due", "found"), PHASES.values(), ids=PHASES)
def test_what_is_too_much_for_one_close_is_left_to_the_next(due, found):
    """A burst holds nothing up for long, and nothing of it is lost."""
    turns = assembler(per_close=10, max_spans=1000)
    for number in range(1, 21):
        turns.add(of_trace(number), 0.0)
    if due > 1:
        for _ in range(4):
            turns.close(0.5)
    counts = [len(found(turns.close(due))) for _ in range(5)]
    assert counts == [5, 5, 5, 5, 0]


def test_giving_up_is_bounded_as_well():
    """Spans whose turn never came."""
    turns = assembler(per_close=10)
    for number in range(1, 26):
        turns.add(of_trace(number)[:1], 0.0)
    assert [len(turns.close(40.0).final) for _ in range(4)] == [10, 10, 5, 0]


def test_what_came_last_is_in_the_final_turn():
    """Even if it came too late for another revision before."""
    turns = assembler()
    turns.add([STT, ROOT], 0.0)
    turns.close(0.5)
    turns.add([LLM_ROW], 1.0)
    turns.close(1.5)
    turns.add([TTS], 5.4)
    closed = turns.close(5.5)
    assert names(closed.final) == [("answer", ["llm", "stt", "tts"])]
    assert closed.shown == closed.final


def test_the_wait_of_a_reply_begins_with_the_users_silence():
    """LiveKit's reply begins when the user's turn is over; its wait began with the end of the speech."""
    turns = assembler()
    turns.add(
        [
            row("user_turn", -2000, 350, span=2, parent=9, endpoint_wait=0.35),
            row("tts", 600, 900, span=3, tts_ttfb=0.15),
            row("", 350, 900, span=1, parent=9, turn="agent_turn"),
        ],
        0.0,
    )
    (turn,) = turns.close(0.5).shown
    assert ((turn.origin_ns - START_NS) / MS, turn.milestones["first_audio"]) == (0, 0.75)
    assert turn.span_id == span_id(1)
