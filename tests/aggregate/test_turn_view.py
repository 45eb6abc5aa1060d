"""A turn as the web and the metrics see it."""

from __future__ import annotations

import json

import pytest
from traces import LLM, START_NS, TRACE, row, span_id

from otel_latency.aggregate.stages import build
from otel_latency.aggregate.turn_view import EXPOSED, MILESTONES, critical_text, observations, turn_json, turn_line

ROOT = row("", 0, 900, span=1, parent=0, turn="answer", session="s1", request_id="r1", ttft=0.3)
ROWS = [
    ROOT,
    row("llm", 100, 700, span=2, llm=LLM, ttft=0.2, ttfs=0.3, input_tokens=512, cost_usd=0.002),
    row("tts", 450, 900, span=3, tts_ttfb=0.1, after=[(2, "first_sentence")]),
]
START = START_NS / 1e9


def at(milliseconds):
    """Unix seconds, as exact as a float is."""
    return pytest.approx(START + milliseconds / 1000, abs=1e-6)


def test_the_shape_of_a_turn():
    """As the API promises it, and nothing else."""
    shown = turn_json(build(ROOT, ROWS))
    assert json.loads(json.dumps(shown)) == shown
    assert shown.pop("verdict").startswith("Overlapped: 1.05 s of work in 0.80 s")
    assert shown == {
        "trace_id": TRACE.hex(),
        "span_id": span_id(1).hex(),
        "request_id": "r1",
        "service": "bot",
        "turn": "answer",
        "session": "s1",
        "status": "ok",
        "start": START,
        "duration_seconds": 0.9,
        "milestones": {"first_token": 0.3, "first_sentence": 0.4, "first_audio": 0.55},
        "stages": [
            {
                "span_id": span_id(2).hex(),
                "parent_span_id": span_id(1).hex(),
                "service": "bot",
                "stage": "llm",
                "start": at(100),
                "end": at(700),
                "status": "ok",
                "milestones": {"first_token": 0.2, "first_sentence": 0.3},
                "busy_seconds": 0.6,
                "exposed_seconds": 0.3,
                "llm": {
                    "provider": "openai",
                    "model": "gpt-4o",
                    "task": None,
                    "input_tokens": 512,
                    "output_tokens": None,
                    "cost_usd": 0.002,
                },
            },
            {
                "span_id": span_id(3).hex(),
                "parent_span_id": span_id(1).hex(),
                "service": "bot",
                "stage": "tts",
                "start": at(450),
                "end": at(900),
                "status": "ok",
                "milestones": {"first_audio": 0.1},
                "busy_seconds": 0.45,
                "exposed_seconds": 0.1,
            },
        ],
        "critical_path": [
            {"stage": "unowned", "gate": "llm start", "from": at(0), "to": at(100), "seconds": 0.1},
            {"stage": "llm", "gate": "first_token", "from": at(100), "to": at(300), "seconds": 0.2},
            {"stage": "llm", "gate": "first_sentence", "from": at(300), "to": at(400), "seconds": 0.1},
            {"stage": "unowned", "gate": "tts start", "from": at(400), "to": at(450), "seconds": 0.05},
            {"stage": "tts", "gate": "first_audio", "from": at(450), "to": at(550), "seconds": 0.1},
        ],
        "overlap": {
            "sum_seconds": 1.05,
            "union_seconds": 0.8,
            "wall_seconds": 0.9,
            "saved_seconds": 0.25,
            "concurrency": pytest.approx(1.05 / 0.9),
        },
    }


def test_a_line_of_a_list():
    """The turn without its parts; no session is null."""
    whole = turn_json(build(ROOT, ROWS))
    parts = ("stages", "critical_path", "overlap", "verdict")
    assert turn_line(build(ROOT, ROWS)) == {key: value for key, value in whole.items() if key not in parts}
    alone = row("", 0, 900, span=1, parent=0, turn="answer")
    bare = turn_line(build(alone, [alone]))
    assert (bare["session"], bare["request_id"]) == (None, None)


def test_the_parent_of_a_stage_is_what_is_around_it():
    """Another stage, else the turn, if its span came; a stage that is the turn itself has none."""
    inner = row("search", 50, 90, span=3, parent=2)
    spans = row("", 0, 100, span=1, parent=0, turn="answer"), row("retrieve", 0, 100, span=2), inner
    one, two, three = (span_id(number).hex() for number in (1, 2, 3))
    assert parents(build(spans[0], spans)) == {two: one, three: two}
    assert parents(build(None, spans[1:])) == {two: None, three: two}
    alone = row("transcribe", 0, 800, span=1, parent=0, turn="transcribe")
    assert parents(build(alone, [alone])) == {one: None}


def parents(turn):
    return {stage["span_id"]: stage["parent_span_id"] for stage in turn_json(turn)["stages"]}


TEXTS = {
    "to the first audio": (ROWS, "llm 0.30 s (55 %), tts 0.10 s (18 %), unowned 0.15 s"),
    "to the end where nothing is heard": (
        [row("llm", 0, 890, span=2, llm=LLM)],
        "llm 0.89 s (99 %), unowned 0.01 s",
    ),
    "the three that took most": (
        [row(name, at, at + ms, span=at + 2) for name, at, ms in (("a", 0, 100), ("b", 100, 400), ("c", 500, 200))]
        + [row("d", 700, 900, span=999)],
        "b 0.40 s (44 %), c 0.20 s (22 %), d 0.20 s (22 %)",
    ),
    "no stages": ([], "unowned 0.90 s"),
}


@pytest.mark.parametrize(("rows", "text"), TEXTS.values(), ids=TEXTS)
def test_a_turn_in_a_line_for_a_message(rows, text):
    """Which stages took most of the wait, and what was nobody's."""
    root = row("", 0, 900, span=1, parent=0, turn="answer")
    assert critical_text(build(root, [root, *(one for one in rows if one[0].turn == "")])) == text


def test_a_turn_that_took_no_time_is_told_in_no_words():
    """There is nothing to be said of it."""
    root = row("", 0, 0, span=1, parent=0, turn="answer")
    assert critical_text(build(root, [root])) == ""


def told(turn):
    return sorted((one.family, dict(one.labels).get("stage", ""), round(one.value, 9)) for one in observations(turn))


def test_what_the_metrics_count_of_a_turn():
    """Each stage's share of the path, and the milestones that the turn's own span did not tell."""
    turn = build(ROOT, ROWS)
    assert told(turn) == [
        (EXPOSED, "llm", 0.3),
        (EXPOSED, "tts", 0.1),
        (MILESTONES["first_audio"], "", 0.55),
        (MILESTONES["first_sentence"], "", 0.4),
    ]
    assert {one[3:] for one in observations(turn)} == {(START_NS + 900_000_000, TRACE, span_id(1))}
    assert {one.labels[:2] for one in observations(turn)} == {(("service", "bot"), ("turn", "answer"))}


def test_stages_of_one_name_are_one_share():
    """So the shares of a turn sum to no more than its length."""
    rows = [
        row("", 0, 300, span=1, parent=0, turn="answer"),
        *(row("tool", k * 100, k * 100 + 100, span=2 + k) for k in range(3)),
    ]
    assert told(build(rows[0], rows)) == [(EXPOSED, "tool", 0.3)]


def test_a_stage_outside_of_any_turn_is_exposed_for_all_its_time():
    """The most common trace of all."""
    alone = row("transcribe", 0, 800, span=1, parent=0, turn="transcribe")
    assert told(build(alone, [alone])) == [(EXPOSED, "transcribe", 0.8)]


def test_an_interrupted_turn_is_no_latency():
    """How long somebody listened says nothing."""
    cut = row("", 0, 900, span=1, parent=0, turn="answer", status="interrupted")
    assert told(build(cut, [cut, *ROWS[1:]])) == []
