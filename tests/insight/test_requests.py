import pytest
from hypothesis import given
from hypothesis import strategies as st
from voice_log import EXAMPLE, START

from otel_latency.insight.events import Event, Known
from otel_latency.insight.requests import Moment, request_of
from otel_latency.instrument.events import Events


def request(events, **others):
    """Of (milliseconds, event) pairs in the order of the lines."""
    return request_of(
        "r", [Event(START + at / 1000, "r", event, event.partition("_")[0], **others) for at, event in events]
    )


def deltas(found):
    return [
        (found.moments[s.opening].event, found.moments[s.closing].event, round(s.seconds * 1000)) for s in found.steps
    ]


def test_published_example():
    """Offsets, deltas, the slowest step and the total of the published example, to the millisecond."""
    found = request([(at, event) for event, at in EXAMPLE.items()])
    assert list(EXAMPLE.items()) == [(moment.event, round(moment.offset * 1000)) for moment in found.moments]
    assert [
        ("v34_webhook_received", "v34_classification_complete", 102),
        ("v34_classification_complete", "v34_retrieval_complete", 725),
        ("v34_ollama_sent", "v34_ollama_received", 4320),
        ("tts_synthesis_start", "tts_audio_playback_start", 445),
    ] == deltas(found)
    assert ("llm", 8450, START) == (found.slowest.stage, round(found.total * 1000), found.start)
    assert "Sequential: speech starts 0.245 s after the model has ended." == found.verdict


def test_starts_where_logged():
    """Where the start of a step was logged it counts from there, not from the event before."""
    found = request(
        [
            (0, "v34_webhook_received"),
            (5, "v34_classification_start"),
            (25, "v34_classification_complete"),
            (40, "v34_retrieval_start"),
            (90, "v34_retrieval_complete"),
        ]
    )
    assert [
        ("v34_classification_start", "v34_classification_complete", 20),
        ("v34_retrieval_start", "v34_retrieval_complete", 50),
    ] == deltas(found)


def test_streaming():
    """Where speech starts while the model still writes, the turn is overlapped."""
    found = request(
        [
            (0, "v34_ollama_sent"),
            (800, "tts_synthesis_start"),
            (1100, "tts_audio_playback_start"),
            (3000, "v34_ollama_received"),
        ]
    )
    assert "Overlapped: speech starts 2.200 s before the model has ended." == found.verdict
    assert ["tts", "llm"] == [step.stage for step in found.steps]
    assert "" == request([(0, "v34_ollama_sent"), (9, "v34_ollama_received")]).verdict


PAIRS = {
    "own names": ("rerank_start rerank_complete", [(0, 1)]),
    "sent and received": ("shop_sent shop_received", [(0, 1)]),
    "twice": ("a_start a_end a_start a_end", [(0, 1), (2, 3)]),
    "side by side": ("a_started a_started a_completed a_completed", [(0, 2), (1, 3)]),
    "never ended": ("a_start a_end a_start", [(0, 1)]),
    "never begun": ("a_end b_start", []),
    "ended before it began": ("a_end a_start a_end", [(1, 2)]),
    "playback is the answer's length, no wait": ("tts_audio_playback_start tts_audio_playback_complete", []),
    "a name of one word": ("start complete", []),
}


@pytest.mark.parametrize(("events", "expected"), PAIRS.values(), ids=PAIRS)
def test_pairs(events, expected):
    """Events pair up by their names: each opening with the first free closing after it."""
    found = request([(10 * at, event) for at, event in enumerate(events.split())])
    assert expected == [(step.opening, step.closing) for step in found.steps]


def test_lines_out_of_order():
    """Services write when they get to it: a few milliseconds out of order are put in order."""
    found = request([(0, "a_start"), (30, "b_start"), (20, "a_end")])
    assert [Moment(pytest.approx(at), *names) for at, *names in ((0, "a", "a_start"), (0.02, "a", "a_end"))] == [
        *found.moments[:2]
    ]


def test_clock_back():
    """Where the clock went back the order of the lines holds, and the step counts as no time."""
    found = request([(5000, "v34_ollama_sent"), (6000, "v34_prompt_built"), (100, "v34_ollama_received"), (200, "z")])
    assert [0, 1000, 1000, 1100] == [round(moment.offset * 1000) for moment in found.moments]
    assert [("v34_ollama_sent", "v34_ollama_received", 1000)] == deltas(found)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from(list(Events))), min_size=1, max_size=40))
def test_any_clock(events):
    """Whatever the clock did, offsets never run backwards, no step is negative and none is longer than the whole."""
    found = request(events)
    offsets = [moment.offset for moment in found.moments]
    assert offsets == sorted(offsets)
    assert all(0 <= step.seconds <= found.total for step in found.steps)
    assert len(events) == len(found.moments)


def test_metadata():
    """The first event that knows the session or the prompt's size tells it; LLM calls are added up."""
    found = request_of(
        "r",
        [
            Event(1.0, "r", "v34_ollama_sent", metadata=Known(session="s")),
            Event(1.5, "r", "v34_ollama_received", metadata=Known(prompt_tokens=100)),
            Event(2.0, "r", "v34_ollama_sent", metadata=Known(session="t", prompt_tokens=200)),
            Event(4.0, "r", "v34_ollama_received"),
        ],
    )
    assert ("s", 100.0, 2.5) == (found.session, found.prompt_tokens, found.llm_seconds)
    unknown = request([(0, "x")])
    assert ("", None, None) == (unknown.session, unknown.prompt_tokens, unknown.llm_seconds)
