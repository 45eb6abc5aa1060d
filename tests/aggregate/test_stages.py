"""The spans of a turn as one turn: told once, on one clock, with milestones that mean the same for every tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traces import LLM, START_NS, row, span_id

from otel_latency.aggregate.path import of
from otel_latency.aggregate.stages import build
from otel_latency.aggregate.turn import NO_ROOT, SKEWED, Sentence
from otel_latency.aggregate.turn_view import turn_json
from otel_latency.ingest.otlp_traces import TraceDecoder

MS = 1_000_000
TESTDATA = Path(__file__).parent / "testdata"


def turn(*rows, length=1000, **root):
    """A turn of these spans, whose own span is number 1."""
    own = row("", 0, length, span=1, parent=0, turn="answer", **root)
    return build(own, [*rows, own])


def shown(told):
    """Name, start and end in milliseconds, and the index of the stage around."""
    return [
        (one.stage, (one.start_ns - START_NS) / MS, (one.end_ns - START_NS) / MS, one.parent) for one in told.stages
    ]


def test_a_turn_is_what_its_span_says():
    """Names, times, ids, and how it ended."""
    told = turn(status="interrupted", session="s", request_id="r", end_reason="barge_in", fallback="canned")
    assert (told.service, told.turn, told.status, told.duration) == ("bot", "answer", "interrupted", 1.0)
    assert (told.session, told.request_id, told.interruption, told.fallback) == ("s", "r", "barge_in", "canned")
    assert (told.stages, told.marks, told.revision) == ((), frozenset(), 0)


SINGLE = {
    "a call": {"ttft": 0.2, "session": "s", "moments": {"warm": 100}},
    "nothing told": {},
    "sentences": {"sentences": "[[0, 0.3, null, null, null]]", "end_reason": "barge_in", "fallback": "canned"},
    "the end of the user's speech": {"stt_delay": 1.2, "ttft": 0.2},
    "what the user waited": {"e2e": 1.2},
    "a failure": {"status": "timeout", "request_id": "r"},
    "what is heard": {"name": "agent_speaking"},
}


@pytest.mark.parametrize("has_root", [True, False])
@pytest.mark.parametrize("said", SINGLE.values(), ids=SINGLE)
def test_a_single_span_is_told_as_any_other(said, has_root):
    """The short way for the most common of turns gives what the long way would."""
    said = dict(said)
    name = said.pop("name", "llm")
    alone = row(name, 0, 900, span=1, parent=0, turn="llm", llm=LLM, **said)
    other = row("", 0, 0, span=2, parent=1)
    root = alone if has_root else None
    assert build(root, [alone], ["x"], 3) == build(root, [alone, other], ["x"], 3)
    assert shown(build(root, [alone])) == [(name, 0, 900, -1)]


@pytest.mark.parametrize("times", [(0, 0), (START_NS, 0), (0, START_NS)])
def test_a_turn_without_times_has_no_length(times):
    """Not the time since 1970; alone or with others."""
    alone = row("llm", 0, 900, span=1, parent=0, turn="llm")
    alone = (*alone[:4], *times, None)
    for told in (build(alone, [alone]), build(alone, [alone, (*row("x", 0, 0, span=2)[:4], *times, None)])):
        assert (told.duration, told.stages, told.start_ns) == (0, (), max(times))


def test_stages_know_what_is_around_them():
    """Spans that are no stage are looked through; busy is the time without the inner ones."""
    told = turn(
        row("retrieve", 0, 100, span=2),
        row("", 10, 90, span=3, parent=2),
        row("embed", 20, 50, span=4, parent=3),
        row("search", 40, 80, span=5, parent=3),
    )
    assert sorted(shown(told)) == [("embed", 20, 50, 0), ("retrieve", 0, 100, -1), ("search", 40, 80, 0)]
    assert {one.stage: one.busy_ns / MS for one in told.stages} == {"retrieve": 40, "embed": 30, "search": 40}


TWICE = {
    "a client's own call in ours": ("llm", LLM, "chat gpt-4o", LLM),
    "a client's own call, marked": ("llm", LLM, "chat gpt-4o", None),
    "LiveKit's node around its request": ("llm", None, "llm_request", LLM),
    "LiveKit's synthesis": ("tts", None, "tts_request", None),
}


@pytest.mark.parametrize(("outer", "call", "inner", "inner_call"), TWICE.values(), ids=TWICE)
def test_what_is_told_twice_is_one_stage(outer, call, inner, inner_call):
    """The outer one counts, and learns what only the inner one knows."""
    told = turn(
        row(outer, 0, 500, span=2, llm=call, ttft=0.2),
        row(inner, 10, 490, span=3, parent=2, llm=inner_call, ttfc=0.1, ttft=0.3),
    )
    (stage,) = told.stages
    assert (stage.stage, stage.llm, stage.busy_ns) == (outer, call or inner_call, 500 * MS)
    assert stage.milestones == (("first_chunk", START_NS + 110 * MS), ("first_token", START_NS + 200 * MS))


def test_tools_inside_a_call_are_stages():
    """A loop of tools in one call of a model is not the call's own work."""
    told = turn(row("llm", 0, 500, span=2, llm=LLM), row("weather", 100, 300, span=3, parent=2))
    assert {one.stage: one.busy_ns / MS for one in told.stages} == {"llm": 300, "weather": 200}


def test_a_turn_within_a_turn_is_a_stage():
    """Another service's, say."""
    told = turn(row("", 100, 300, span=2, turn="lookup", service="search"))
    assert shown(told) == [("lookup", 100, 300, -1)]


def test_a_clock_that_is_behind_is_put_right():
    """A callee cannot begin before its caller: it is moved into the caller's middle, with all that is below it."""
    told = turn(
        row("call", 100, 300, span=2),
        row("serve", -900, -800, span=3, parent=2, service="back"),
        row("query", -880, -820, span=4, parent=3, service="back"),
    )
    assert sorted(shown(told)) == [("call", 100, 300, -1), ("query", 170, 230, 1), ("serve", 150, 250, 0)]
    assert told.marks == {SKEWED}
    assert told.corrections == {"back": 1050 * MS}


def test_a_callee_that_ends_too_late_is_only_marked():
    """It may be work that nobody waits for; and a clock that is hours off cannot be put right."""
    late = turn(row("call", 100, 300, span=2), row("serve", 200, 400, span=3, parent=2, service="back"))
    assert (shown(late)[1], late.marks, dict(late.corrections)) == (("serve", 200, 400, 0), {SKEWED}, {})
    far = turn(row("call", 100, 300, span=2), row("serve", -4e6, -3.9e6, span=3, parent=2, service="back"))
    assert (shown(far)[1], far.marks) == (("serve", -4e6, -3.9e6, 0), {SKEWED})


def test_a_turn_without_its_span_is_what_came():
    """From the first start to the last end, with the worst of the statuses, and marked."""
    told = build(None, [row("llm", 100, 500, span=2, status="timeout"), row("tts", 500, 700, span=3, status="ok")])
    assert (told.turn, told.span_id, told.status, told.duration) == ("unknown", b"", "timeout", 0.6)
    assert told.marks == {NO_ROOT}
    assert told.start_ns == START_NS + 100 * MS


def test_milestones_of_a_turn_are_its_own_else_the_first_of_its_stages():
    """In seconds from its start."""
    told = turn(
        row("llm", 100, 500, span=2, ttft=0.2, ttfs=0.3),
        row("llm", 300, 500, span=3, ttft=0.1),
        row("tts", 400, 900, span=4, tts_ttfb=0.15, moments={"warm": 50}),
        ttfs=0.45,
    )
    assert dict(told.milestones) == {"first_token": 0.3, "first_sentence": 0.45, "first_audio": 0.55}


SPEECH = {
    "its span counts from there itself": ({"ttfa": 0.9}, {}, 0.0, 0.9),
    "how long after it the reply was heard": ({"e2e": 1.25}, {}, -0.35, 1.25),
    "a transcript that came late": ({}, {"stt_delay": 0.2}, 0.2, 0.7),
    "a decision that came late": ({}, {"endpoint_wait": 0.3, "stt_delay": 0.1}, 0.1, 0.8),
}


@pytest.mark.parametrize(("root", "stt", "origin", "heard"), SPEECH.values(), ids=SPEECH)
def test_milestones_count_from_the_end_of_the_users_speech(root, stt, origin, heard):
    """Where any span tells when that was."""
    told = turn(row("stt", 0, 400, span=2, **stt), row("tts", 750, 1000, span=3, tts_ttfb=0.15), **root)
    assert ((told.origin_ns - START_NS) / 1e9, told.milestones["first_audio"]) == (origin, heard)


def test_what_only_the_turn_knows_of_its_reply():
    """Without a synthesis among the spans, too."""
    assert dict(turn(e2e=1.25).milestones) == {"first_audio": 1.25}


def test_sentences_count_from_the_origin():
    """Each with what it reached (ST2)."""
    said = json.dumps([[0, 0.3, 0.4, 0.5, 1.5], [1, 0.6, 0.7, None, None]])
    told = turn(row("reply", 200, 900, span=2, sentences=said))
    rounded = [tuple(value if value is None else round(value, 9) for value in one) for one in told.sentences]
    assert rounded == [Sentence(0, 0.5, 0.6, 0.7, 1.7), Sentence(1, 0.8, 0.9)]


def test_gates_are_read_from_the_row():
    """As ingest writes them."""
    told = turn(row("llm", 0, 300, span=2, ttfs=0.1), row("tts", 100, 300, span=3, after=[(2, "first_sentence")]))
    assert {one.stage: one.waits for one in told.stages} == {"llm": (), "tts": ((span_id(2), "first_sentence"),)}


def test_spans_without_times_and_circles_of_parents_do_no_harm():
    """What cannot be placed is no stage."""
    broken = row("stt", 0, 100, span=2)
    told = turn((*broken[:4], 0, 0, None), row("a", 0, 10, span=3, parent=4), row("b", 0, 10, span=4, parent=3))
    assert told.stages == ()


def traces():
    for path in sorted(TESTDATA.glob("*.json")):
        golden = json.loads(path.read_text())
        yield pytest.param(golden["spans"], golden["expected"], id=path.stem)


@pytest.mark.parametrize(("spans", "expected"), list(traces()))
def test_other_tools_tell_of_the_same_run(spans, expected):
    """One run of a voice agent (llm-voice §4) in each tool's spans: the milestones and shares that ours gives."""
    rows, rejected = TraceDecoder().decode(json.dumps(spans).encode(), is_json=True)
    assert rejected == {}
    told = build(next(one for one in rows if one[0].turn), [one for one in rows if not is_session(one)])
    found = turn_json(told)
    assert {
        "milestones": {name: round(value, 6) for name, value in found["milestones"].items()},
        "critical_path": [[one["stage"], one["gate"], round(one["seconds"], 6)] for one in found["critical_path"]],
        "status": found["status"],
        "session": found["session"],
    } == expected


@pytest.mark.parametrize("name", [path.stem for path in sorted(TESTDATA.glob("*.json"))])
def test_every_milestone_of_another_tool_is_the_one_that_ours_tells(name):
    """Of the same run: what both tell is the same moment, and the wait for the first audio has the same shares."""
    ours, theirs = (decoded(one) for one in ("otel_latency", name))
    shared = ours.milestones.keys() & theirs.milestones.keys()
    assert "first_audio" in shared
    assert {one: round(ours.milestones[one], 6) for one in shared} == {
        one: round(theirs.milestones[one], 6) for one in shared
    }
    assert (
        (exposed(theirs, "llm"), exposed(theirs, "tts")) == (exposed(ours, "llm"), exposed(ours, "tts")) == (700, 150)
    )


def decoded(name):
    """The turn of a tool's trace."""
    body = json.dumps(json.loads((TESTDATA / f"{name}.json").read_text())["spans"]).encode()
    rows = [one for one in TraceDecoder().decode(body, is_json=True)[0] if not is_session(one)]
    return build(next(one for one in rows if one[0].turn), rows)


def exposed(told, stage) -> int:
    """Milliseconds of a stage on the path to the first audio."""
    graph = of(told)
    shares = graph.exposed(graph.first("first_audio"))
    return round(sum(ns for one, ns in zip(told.stages, shares, strict=True) if one.stage == stage) / MS)


def is_session(one) -> bool:
    return not (one[3] or one[0].turn)


GOLDEN = Path(__file__).parent.parent / "ingest" / "golden"
KINDS = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
MOMENTS = {"ttfc": "first_chunk", "ttft": "first_token", "ttfat": "first_answer_token", "ttfs": "first_sentence"}


def golden_calls():
    """Every model call that a real package recorded, as OTLP's JSON, with what it is known to mean."""
    for path in sorted(GOLDEN.glob("*.json")):
        golden = json.loads(path.read_text())
        for number, (span, expected) in enumerate(zip(golden["spans"], golden["expected"], strict=True)):
            if expected["llm"] and expected["stage"]:
                yield pytest.param(sent(span), expected, id=f"{path.stem}-{number}")


def sent(span) -> bytes:
    attributes = [
        {"key": key, "value": {KINDS[type(value)]: value}}
        for key, value in span["attributes"].items()
        if type(value) in KINDS
    ]
    start_ns = span["start_ns"]
    one = {
        "traceId": "11" * 16,
        "spanId": "22" * 8,
        "parentSpanId": "" if span["root"] else "33" * 8,
        "name": span["name"],
        "kind": span["kind"],
        "startTimeUnixNano": start_ns,
        "endTimeUnixNano": span["end_ns"],
        "attributes": attributes,
        "status": {"code": span["status"]},
        "events": [
            {"name": event["name"], "timeUnixNano": start_ns + round(event["seconds"] * 1e9)}
            for event in span["events"]
        ],
    }
    scoped = {"scope": span["scope"], "spans": [one]}
    return json.dumps({"resourceSpans": [{"scopeSpans": [scoped]}]}).encode()


@pytest.mark.parametrize(("body", "expected"), list(golden_calls()))
def test_a_recorded_call_has_the_milestones_that_its_tool_tells(body, expected):
    """Under our names for them, and nothing that it does not tell: a first chunk is no first token."""
    rows, _ = TraceDecoder().decode(body, is_json=True)
    (stage,) = build(None, rows).stages
    told = {name: round((at - stage.start_ns) / 1e9, 6) for name, at in stage.milestones}
    assert told == {
        MOMENTS[field]: round(value, 6) for field, value in expected["measures"].items() if field in MOMENTS
    }
    assert stage.stage == expected["stage"]
