"""What is said about a turn: its shape, where to gain, and who is waited for."""

from __future__ import annotations

import random

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
        "only after llm had ended, though its first sentence was there 2.46 s before: hand it over as it streams."
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
    assert said.endswith(
        "Of the wait, 0.20 s is endpointing: a setting decides how long to listen for the end of speech."
    )


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


SILENT = {
    "to the end": ({"length": 500}, "No stages were recorded, so it is not known where the 0.50 s to the end went."),
    "to the first audio": (
        {"length": 900, "ttfa": 0.5},
        "No stages were recorded, so it is not known where the 0.50 s to first audio went.",
    ),
    "of no length": ({"length": 0}, "No stages were recorded."),
    "broken off": (
        {"length": 500, "status": "interrupted"},
        "Interrupted: its length is no latency. No stages were recorded.",
    ),
}


@pytest.mark.parametrize(("root", "words"), SILENT.values(), ids=SILENT)
def test_a_turn_without_stages_says_so(root, words):
    """There is nothing to attack."""
    assert verdict(analysis(**root)) == words


BG = "One stage: index took"
OUTSIDE = "outside of all stages: the application's own code, or what it does not record."
EDGES = {
    "half of it after the turn": (
        [row("index", 500, 1500, span=2)],
        {},
        (
            f"{BG} 0.50 s of the turn's 1.00 s, and ran on for 0.50 s after it. The end comes after 1.00 s, 0.50 s of "
            f"it {OUTSIDE}"
        ),
    ),
    "most of it within the turn": (
        [row("index", 100, 1500, span=2)],
        {},
        (
            f"{BG} 0.90 s of the turn's 1.00 s, and ran on for 0.50 s after it. The end comes after 1.00 s, 0.90 s of "
            "it index: the application's own code."
        ),
    ),
    "all of it after the turn": (
        [row("index", 1500, 2000, span=2)],
        {},
        f"No stage took any time within the turn. The end comes after 1.00 s, 1.00 s of it {OUTSIDE}",
    ),
    "begun before the turn": (
        [row("index", -500, 500, span=2)],
        {},
        (
            f"{BG} 0.50 s of the turn's 1.00 s. The end comes after 1.00 s, 0.50 s of it index: the application's own "
            "code. Twice as fast, it would bring the end 0.25 s earlier."
        ),
    ),
    "of no length": (
        [row("index", 100, 100, span=2)],
        {},
        f"No stage took any time within the turn. The end comes after 1.00 s, 1.00 s of it {OUTSIDE}",
    ),
    "a setting": (
        [row("endpointing", 0, 1000, span=2)],
        {},
        (
            "One stage: endpointing took 1.00 s of the turn's 1.00 s. The end comes after 1.00 s, 1.00 s of it "
            "endpointing: a setting decides how long to listen for the end of speech. Half as long, it would bring the "
            "end 0.50 s earlier."
        ),
    ),
    "two that take as long": (
        [row("a", 0, 1000, span=2), row("b", 0, 990, span=3)],
        {},
        (
            "Overlapped: 1.99 s of work in 1.00 s, 0.99 s saved. The end comes after 1.00 s, 1.00 s of it a: the "
            "application's own code. Twice as fast, it would bring the end hardly any earlier: other work takes as "
            "long."
        ),
    ),
    "work and saved add up where there are gaps": (
        [row("a", 200, 800, span=2), row("b", 200, 500, span=3)],
        {},
        (
            "Overlapped: 0.90 s of work in 0.60 s, 0.30 s saved. The end comes after 1.00 s, 0.60 s of it a: the "
            "application's own code. Twice as fast, it would bring the end 0.30 s earlier."
        ),
    ),
    "a service of the turn's own": (
        [row("tts", 0, 1000, span=2, ttfa=0.004)],
        {},
        (
            "One stage: tts took 1.00 s of the turn's 1.00 s. First audio comes after 4 ms, 4 ms of it tts: waiting "
            "for the service behind it. Twice as fast, it would bring first audio 2 ms earlier."
        ),
    ),
    "a timeout, which nothing faster would end earlier": (
        [row("llm", 0, 1000, span=2, llm=LLM, status="timeout")],
        {"status": "timeout"},
        (
            "Timed out. One stage: llm took 1.00 s of the turn's 1.00 s. The end comes after 1.00 s, 1.00 s of it llm: "
            "waiting for the service openai gpt-4o."
        ),
    ),
    "an interruption, whose end nobody waited for": (
        [row("llm", 0, 1000, span=2, llm=LLM)],
        {"status": "interrupted"},
        "Interrupted: its length is no latency. One stage: llm took 1.00 s of the turn's 1.00 s.",
    ),
    "a stage that ends with the one in it": (
        [row("outer", 0, 1000, span=2), row("inner", 0, 1000, span=3, parent=2)],
        {},
        (
            "Sequential: the stages take 1.00 s one after the other. The end comes after 1.00 s, 1.00 s of it inner: "
            "the application's own code. Twice as fast, it would bring the end 0.50 s earlier."
        ),
    ),
}


@pytest.mark.parametrize(("rows", "root", "words"), EDGES.values(), ids=EDGES)
def test_every_sentence_is_true(rows, root, words):
    """At the edges of the turn as well, in a turn of a second."""
    assert verdict(analysis(*rows, length=1000, **root)) == words


def test_a_short_stall_is_not_all_of_a_gap():
    """Nobody's time is the blocked loop's only if that was most of it."""
    rows = [row("event_loop_blocked", 100, 120, span=2, parent=9), row("b", 500, 500, span=3)]
    assert analysis(*rows, length=500).parts()[0].owner == "own code"


@pytest.mark.parametrize("seed", range(200))
def test_the_numbers_of_random_turns_add_up(seed):
    """No share is more than its whole, no gain more than its share, and no sentence is broken off."""
    rng = random.Random(seed)
    length = rng.randint(0, 3000)
    rows = []
    for number in range(rng.randint(0, 5)):
        start = rng.randint(-300, length + 300)
        end = start + rng.choice([0, 5, rng.randint(1, 1500)])
        stage = rng.choice(["llm", "tts", "stt", "endpointing", "retrieve", "event_loop_blocked"])
        said = {"ttfa": 0.1} if stage == "tts" and end - start >= 100 else {}
        rows.append(row(stage, start, end, span=number + 2, parent=rng.choice([1, 1, max(2, number + 1)]), **said))
    one = analysis(*rows, length=length, status=rng.choice(["ok", "ok", "error", "interrupted", "timeout"]))
    total = sum(tile.length_ns for tile in one.path)
    assert sum(part.exposed_ns for part in one.parts()) == total
    for part in one.parts():
        took = sum(one.turn.stages[stage].end_ns - one.turn.stages[stage].start_ns for stage in part.stages)
        assert not part.stages or part.exposed_ns <= took
        assert 0 <= one.graph.gain(one.sink, part.stages, faster=0.5) <= part.exposed_ns
    said = verdict(one)
    assert said.endswith(".")
    assert "0.00 s" not in said


def test_doubts_are_told():
    """A turn that is not whole is to be taken with care."""
    rows = [row("llm", 100, 500, span=2, llm=LLM), row("serve", -900, -800, span=3, parent=2, service="back")]
    said = verdict(Analysis(build(None, rows)))
    assert said.endswith("Take this with care: the turn's own span never came and clocks of its services disagree.")
