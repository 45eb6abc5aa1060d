import json

import pytest

from otel_latency.aggregate.stages import build
from otel_latency.aggregate.turn_view import turn_json
from otel_latency.insight.requests import Tile
from otel_latency.insight.turns import request_of_document, request_of_turn
from otel_latency.records import LLMProfile, Profile

SECOND = 1_000_000_000
BASE = 1_764_253_805 * SECOND


def row(number, profile, start, end, **measures):
    """A span of the one trace; the first is the root. Times are seconds."""
    parent = b"" if number == 1 else (1).to_bytes(8, "big")
    times = BASE + round(start * SECOND), BASE + round(end * SECOND)
    return (profile, b"t" * 16, number.to_bytes(8, "big"), parent, *times, measures)


TURN = Profile("bot", turn="answer")
STT, TTS = (Profile("bot", stage=name) for name in ("stt", "tts"))
LLM = Profile("bot", stage="llm", llm=LLMProfile("openai", "gpt-4o", "reply", "chat"))


def spans(tts_start):
    """350 ms of listening, then the model, then speech from *tts_start* on, first heard after 150 ms."""
    return [
        row(1, TURN, 0, 2.9, session="s-1", request_id="r-1"),
        row(2, STT, 0, 0.35),
        row(3, LLM, 0.35, 2.2, ttft=0.55, ttfs=0.7),
        row(4, TTS, tts_start, 2.9, ttfa=0.15),
    ]


def test_turn():
    """Stages become moments and steps with their service, and the critical path tiles the wait without a gap."""
    rows = spans(1.05)
    found = request_of_turn(build(rows[0], rows), 512.0)
    assert ("r-1", "s-1", 512.0, "ok", 2.9) == (
        found.request_id,
        found.session,
        found.prompt_tokens,
        found.status,
        found.total,
    )
    assert [
        (0.0, "stt start"),
        (0.35, "stt end"),
        (0.35, "llm start"),
        (0.9, "llm first_token"),
        (1.05, "llm first_sentence"),
        (1.05, "tts start"),
        (1.2, "tts first_audio"),
        (2.2, "llm end"),
        (2.9, "tts end"),
    ] == [(pytest.approx(moment.offset), moment.event) for moment in found.moments]
    assert [("stt", 0.35), ("llm", 1.85), ("tts", 1.85)] == [(s.stage, pytest.approx(s.seconds)) for s in found.steps]
    assert pytest.approx(1.85) == found.llm_seconds
    assert ("stt", 0.0) == (found.path[0].stage, found.path[0].start)
    assert all(one.end == other.start for one, other in zip(found.path, found.path[1:], strict=False))
    assert "tts" == found.path[-1].stage


@pytest.mark.parametrize(("tts_start", "word"), [(1.05, "Overlapped"), (2.2, "Sequential")])
def test_named_rightly(tts_start, word):
    """Speech that starts with the first sentence is overlapped, speech after the whole answer is sequential."""
    rows = spans(tts_start)
    assert request_of_turn(build(rows[0], rows)).verdict.startswith(word)


@pytest.mark.parametrize("tts_start", [1.05, 2.2])
def test_the_same_over_http(tts_start):
    """What the agent's API tells of a turn makes the same request as the turn itself, to the microsecond."""
    rows = spans(tts_start)
    turn = build(rows[0], rows)
    direct, told = request_of_turn(turn), request_of_document(json.loads(json.dumps(turn_json(turn))))
    assert pytest.approx([one.offset for one in direct.moments], abs=1e-6) == [one.offset for one in told.moments]
    assert [(one.service, one.event) for one in direct.moments] == [(one.service, one.event) for one in told.moments]
    assert [(s.stage, s.opening, s.closing) for s in direct.steps] == [
        (s.stage, s.opening, s.closing) for s in told.steps
    ]
    assert [(tile.stage, tile.gate) for tile in direct.path] == [(tile.stage, tile.gate) for tile in told.path]
    assert pytest.approx([tile.end for tile in direct.path], abs=1e-6) == [tile.end for tile in told.path]
    assert (direct.verdict, direct.session, direct.status, direct.milestones, direct.total) == (
        told.verdict,
        told.session,
        told.status,
        told.milestones,
        told.total,
    )


def test_without_root():
    """A trace whose own span never came is a request as well, named by its trace."""
    rows = spans(1.05)[1:]
    assert (b"t" * 16).hex() == request_of_turn(build(None, rows)).request_id


DOCUMENT = {
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "service": "bot",
    "turn": "answer",
    "session": "s-1",
    "status": "ok",
    "start": 1_000.0,
    "duration_seconds": 2.9,
    "milestones": {"first_token": 0.9},
    "stages": [
        {
            "span_id": "b7ad6b7169203331",
            "stage": "llm",
            "start": 1_000.25,
            "end": 1_002.25,
            "status": "ok",
            "milestones": {"first_token": 0.5},
            "busy_seconds": 2.0,
            "exposed_seconds": 0.75,
        }
    ],
    "critical_path": [{"stage": "llm", "gate": "end", "from": 1_000.25, "to": 1_002.25, "seconds": 2.0}],
    "overlap": {},
    "verdict": "One stage.",
}


def test_document():
    """What an agent answers becomes the same, in seconds from the turn's start."""
    found = request_of_document(DOCUMENT)
    assert [(0.25, "llm start"), (0.75, "llm first_token"), (2.25, "llm end")] == [
        (moment.offset, moment.event) for moment in found.moments
    ]
    assert ((Tile("llm", "end", 0.25, 2.25),), "One stage.", "s-1", 2.0) == (
        found.path,
        found.verdict,
        found.session,
        found.llm_seconds,
    )
    with pytest.raises(KeyError):
        request_of_document({"error": "no such turn"})


def test_calls_of_a_document():
    """What an agent tells of calls counts, whatever their stages are called; a stage may be of another service."""
    call = {**DOCUMENT["stages"][0], "stage": "generate", "service": "brain", "llm": {"input_tokens": 512.0}}
    silent = {**DOCUMENT["stages"][0], "stage": "llm", "service": None, "llm": None}
    found = request_of_document({**DOCUMENT, "stages": [call, silent], "request_id": "r-1"})
    assert ("r-1", 512.0, 2.0) == (found.request_id, found.prompt_tokens, found.llm_seconds)
    assert ["brain", "bot"] == [moment.service for moment in found.moments[:2]]
