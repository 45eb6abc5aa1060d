"""What is said about a turn: its shape, where to gain, and who is waited for."""

from __future__ import annotations

import pytest
from traces import LLM, row

from otel_latency.aggregate.stages import build
from otel_latency.aggregate.verdict import Analysis, Missed, verdict


def analysis(*rows, length, **root) -> Analysis:
    own = row("", 0, length, span=1, parent=0, turn="answer", **root)
    return Analysis(build(own, [own, *rows]))


SEQUENTIAL = analysis(
    row("llm", 0, 3063, span=2, llm=LLM, ttft=0.3, ttfs=0.6),
    row("tts", 3063, 5684, span=3, ttfa=0.2),
    length=5684,
)
OVERLAPPED = analysis(
    row("llm", 0, 3063, span=2, llm=LLM, ttft=0.3, ttfs=0.6),
    row("tts", 600, 3221, span=3, ttfa=0.2, after=[(2, "first_sentence")]),
    length=3221,
)


def test_seed_003_one_after_the_other():
    """3,063 ms of model and 2,621 ms of speech: what was not known there is said here, and what to do."""
    assert SEQUENTIAL.is_sequential
    assert SEQUENTIAL.missed() == Missed("tts", "llm", "first_sentence", 2_463_000_000)
    assert verdict(SEQUENTIAL) == (
        "Sequential: the stages take 5.68 s one after the other. First audio comes after 3.26 s, 3.06 s of it llm: "
        "waiting for the service openai gpt-4o. Twice as fast, it would bring first audio 1.53 s earlier. tts began "
        "when llm had ended, though its first sentence was there 2.46 s before: hand it over as it streams."
    )


def test_seed_003_overlapped():
    """The same work as a stream."""
    assert not OVERLAPPED.is_sequential
    assert OVERLAPPED.missed() is None
    assert verdict(OVERLAPPED) == (
        "Overlapped: 5.68 s of work in 3.22 s, 2.46 s saved. First audio comes after 0.80 s, 0.60 s of it llm: "
        "waiting for the service openai gpt-4o. Twice as fast, it would bring first audio 0.30 s earlier."
    )


WAITS = {
    "a model": ([row("llm", 0, 500, span=2, llm=LLM)], "service"),
    "another service": ([row("lookup", 0, 500, span=2, service="search")], "service"),
    "speech to text": ([row("stt", 0, 500, span=2)], "service"),
    "a setting": ([row("endpointing", 0, 500, span=2)], "setting"),
    "LiveKit's setting": ([row("eou_wait", 0, 500, span=2)], "setting"),
    "a step of one's own": ([row("build_prompt", 0, 500, span=2)], "own code"),
    "nothing that is a stage": ([row("b", 500, 500, span=2)], "own code"),
    "a blocked loop": (
        [row("event_loop_blocked", 100, 400, span=2, parent=9), row("b", 500, 500, span=3)],
        "event loop",
    ),
    "the way to another service": ([row("b", 500, 500, span=2, service="search")], "network"),
}


@pytest.mark.parametrize(("rows", "owner"), WAITS.values(), ids=WAITS)
def test_who_is_waited_for(rows, owner):
    """The largest part of the wait names them."""
    assert analysis(*rows, length=500).parts()[0].owner == owner


def test_a_setting_is_told_beside_the_worst_stage():
    """It is the cheapest thing to change."""
    said = verdict(analysis(row("endpointing", 0, 200, span=2), row("llm", 200, 900, span=3, llm=LLM), length=900))
    assert said.endswith("0.20 s of it is endpointing: a setting decides how long to listen for the end of speech.")


def test_stages_of_one_name_are_attacked_together():
    """Ten short calls are one reason."""
    calls = [row("llm", 50 * k, 50 * k + 50, span=2 + k, llm=LLM) for k in range(10)]
    one = analysis(*calls, row("tts", 500, 700, span=20), length=700)
    worst = one.parts()[0]
    assert (worst.name, worst.exposed_ns, len(worst.stages)) == ("llm", 500_000_000, 10)
    assert "Twice as fast, it would bring the end 0.25 s earlier." in verdict(one)


ENDINGS = {
    "barge-in": (
        {"status": "interrupted", "end_reason": "barge_in"},
        "Interrupted (barge_in): its length is no latency.",
    ),
    "an error": ({"status": "error"}, "Failed."),
    "a timeout": ({"status": "timeout"}, "Timed out."),
    "cancelled": ({"status": "cancelled"}, "Cancelled."),
    "a fallback": ({"fallback": "canned"}, "canned stood in for what failed."),
}


@pytest.mark.parametrize(("root", "words"), ENDINGS.values(), ids=ENDINGS)
def test_an_ending_is_told_as_such(root, words):
    """Barge-in, failure and fallback come first, since they are no latency (ST5)."""
    assert verdict(analysis(row("llm", 0, 500, span=2, llm=LLM), length=500, **root)).startswith(words)


def test_a_turn_without_stages_says_so():
    """There is nothing to attack."""
    assert verdict(analysis(length=500)) == "No stages: 0.50 s cannot be told apart."


def test_doubts_are_told():
    """A turn that is not whole is to be taken with care."""
    rows = [row("llm", 100, 500, span=2, llm=LLM), row("serve", -900, -800, span=3, parent=2, service="back")]
    said = verdict(Analysis(build(None, rows)))
    assert said.endswith("Take this with care: the turn's own span never came and clocks of its services disagree.")
