"""Sum, union and wall of a turn's stages, its gaps, and what of each stage was exposed."""

from __future__ import annotations

import pytest
from traces import LLM, START_NS, row

from otel_latency.aggregate.overlap import Overlap, overlap, shares
from otel_latency.aggregate.path import of
from otel_latency.aggregate.stages import build

MS = 1_000_000


def turn(length, *spans):
    """Stages as (start, end) or (start, end, parent) in milliseconds; the first has span 2."""
    root = row("", 0, length, span=1, parent=0, turn="answer")
    rows = [
        row(f"stage{number}", start, end, span=number, parent=outer[0] if outer else 1)
        for number, (start, end, *outer) in enumerate(spans, 2)
    ]
    return build(root, [root, *rows])


CASES = {
    "no stages": (100, [], (0, 0), [(0, 100)]),
    "one after the other": (100, [(0, 40), (40, 100)], (100, 100), []),
    "side by side": (100, [(0, 80), (20, 100)], (160, 100), []),
    "gaps": (100, [(10, 20), (15, 30), (50, 60)], (35, 30), [(0, 10), (30, 50), (60, 100)]),
    "nesting is no overlap": (100, [(0, 100), (20, 60, 2)], (100, 100), []),
    "inner stages that overlap": (100, [(0, 100), (20, 60, 2), (40, 80, 2)], (120, 100), []),
    "only what is within the turn": (100, [(-50, 40), (90, 150)], (50, 50), [(40, 90)]),
    "one that began when the turn was over": (100, [(0, 100), (120, 150)], (100, 100), []),
}


@pytest.mark.parametrize(("length", "spans", "expected", "gaps"), CASES.values(), ids=CASES)
def test_overlap(length, spans, expected, gaps):
    """S, U and the gaps follow from the intervals."""
    total, union = expected
    found = tuple((START_NS + start * MS, START_NS + end * MS) for start, end in gaps)
    assert overlap(turn(length, *spans)) == Overlap(total * MS, union * MS, length * MS, found)


def test_the_figures_that_follow():
    """Saved, concurrency and unowned time are made of them."""
    found = overlap(turn(200, (0, 80), (20, 100)))
    assert (found.saved_ns, found.unowned_ns, found.concurrency) == (60 * MS, 100 * MS, 0.8)
    assert overlap(turn(0)).concurrency == 0


def test_a_stage_is_hidden_but_for_its_time_on_the_path():
    """The turn of finding 2: of 1,850 ms of model 700 are exposed to who waits for audio."""
    root = row("", 0, 2900, span=1, parent=0, turn="answer")
    rows = [
        row("llm", 350, 2200, span=2, llm=LLM, ttft=0.55, ttfs=0.7),
        row("tts", 1050, 2900, span=3, tts_ttfb=0.2, after=[(2, "first_sentence")]),
        row("log", 1300, 1400, span=4),
    ]
    graph = of(build(root, [root, *rows]))
    by_name = {stage.stage: share for stage, share in zip(graph.stages, shares(graph, graph.goal), strict=True)}
    assert {name: share.exposed_ns / MS for name, share in by_name.items()} == {"llm": 700, "tts": 200, "log": 0}
    assert round(by_name["llm"].hidden, 4) == round(1 - 700 / 1850, 4)
    assert (by_name["llm"].slack_ns, by_name["log"].slack_ns, by_name["log"].hidden) == (0, None, 1)
