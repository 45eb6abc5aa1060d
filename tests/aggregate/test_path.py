"""The critical path tiles the wait exactly, sees through overlap, and knows what a faster stage would gain."""

from __future__ import annotations

import random

import pytest
from traces import LLM, START_NS, random_pipeline, row, span_id

from otel_latency.aggregate.path import NOBODY, UNOWNED, Graph, of
from otel_latency.aggregate.stages import build
from otel_latency.aggregate.turns import TurnAssembler

MS = 1_000_000


def turn(*rows, length=None, **measures):
    """A turn of these stages; it ends with the last of them, or after *length* milliseconds."""
    end = length or max(one[5] - START_NS for one in rows) / MS
    root = row("", 0, end, span=1, parent=0, turn="answer", **measures)
    return build(root, [root, *rows])


def path(graph: Graph, sink: int) -> list[tuple[str, str, float]]:
    """(stage, gate, milliseconds) of each tile."""
    return [
        (UNOWNED if tile.stage == NOBODY else graph.stages[tile.stage].stage, tile.gate, tile.length_ns / MS)
        for tile in graph.walk(sink)
    ]


STREAMED = (
    row("endpointing", 0, 200, span=2),
    row("stt", 200, 350, span=3),
    row("llm", 350, 2200, span=4, llm=LLM, ttft=0.55, ttfs=0.70),
    row("tts", 1050, 2900, span=5, tts_ttfb=0.15, first_audible=0.2, after=[(4, "first_sentence")]),
)
PUBLISHED = [
    ("endpointing", "end", 200),
    ("stt", "end", 150),
    ("llm", "first_token", 550),
    ("llm", "first_sentence", 150),
    ("tts", "first_audio", 150),
    ("tts", "first_audible", 50),
]


def test_a_streaming_turn_is_tiled_as_published():
    """Where a walk over last-finishing children gives the model 0 ms, its share of the 1,250 ms to audio is 700."""
    graph = of(turn(*STREAMED))
    assert path(graph, graph.goal) == PUBLISHED
    assert sum(length for _, _, length in path(graph, graph.goal)) == 1250


def test_foreign_stages_are_gated_by_the_latest_moment_before():
    """The same without the declared gate."""
    *others, tts = STREAMED
    undeclared = (*tts[:6], {key: value for key, value in tts[6].items() if key != "after"})
    graph = of(turn(*others, undeclared))
    assert path(graph, graph.goal) == PUBLISHED


def test_a_stage_that_goes_on_producing_has_the_time_until_another_starts():
    """A model of which no milestone is known; what was declared is not guessed at."""
    spans = row("stt", 0, 300, span=2), row("llm", 300, 900, span=3, llm=LLM), row("tts", 500, 1000, span=4)
    graph = of(turn(*spans))
    assert path(graph, graph.end) == [("stt", "end", 300), ("llm", "tts start", 200), ("tts", "end", 500)]
    declared = row("tts", 500, 1000, span=4, after=[(2, "end")])
    graph = of(turn(*spans[:2], declared))
    assert path(graph, graph.end) == [("stt", "end", 300), (UNOWNED, "tts start", 200), ("tts", "end", 500)]


def test_a_turn_has_two_ends():
    """To its last moment the synthesis counts to its end."""
    graph = of(turn(*STREAMED))
    assert path(graph, graph.end) == [*PUBLISHED, ("tts", "end", 1650)]


def test_seed_001():
    """The request of seed 001: its total follows its own offsets, and the model is the slowest step."""
    told = turn(
        row("stt", 0, 15, span=2, service="stt"),
        row("classification", 23, 125, span=3, service="v34"),
        row("retrieval", 125, 850, span=4, service="v34"),
        row("prompt", 850, 862, span=5, service="v34"),
        row("ollama", 880, 5200, span=6, service="v34", llm=LLM),
        row("hand_over", 5200, 5215, span=7, service="v34"),
        row("tts", 5230, 8450, span=8, service="tts", moments={"synthesis_start": 215, "playback_start": 660}),
    )
    graph = of(told)
    assert told.duration == 8.45
    assert path(graph, graph.end) == [
        ("stt", "end", 15),
        (UNOWNED, "classification start", 8),
        ("classification", "end", 102),
        ("retrieval", "end", 725),
        ("prompt", "end", 12),
        (UNOWNED, "ollama start", 18),
        ("ollama", "end", 4320),
        ("hand_over", "end", 15),
        (UNOWNED, "tts start", 15),
        ("tts", "synthesis_start", 215),
        ("tts", "playback_start", 445),
        ("tts", "end", 2560),
    ]


def test_a_join_waits_for_the_later_of_its_gates():
    """Speech to text and retrieval run side by side; the one that ends first has slack."""
    joined = turn(
        row("stt", 0, 300, span=2),
        row("retrieval", 0, 500, span=3),
        row("llm", 510, 900, span=4, after=[(2, "end"), (3, "end")]),
    )
    graph = of(joined)
    assert path(graph, graph.end) == [("retrieval", "end", 500), (UNOWNED, "llm start", 10), ("llm", "end", 390)]
    slack = {stage.stage: spare for stage, spare in zip(graph.stages, graph.slack(graph.end), strict=True)}
    assert slack == {"stt": 200 * MS, "retrieval": 0, "llm": 0}


def test_an_outer_stage_has_the_time_between_its_inner_ones():
    """What is done inside is the inner stages'; the rest of the outer one is its own."""
    nested = turn(
        row("retrieve", 10, 100, span=2),
        row("embed", 20, 50, span=3, parent=2),
        row("search", 60, 90, span=4, parent=2),
    )
    graph = of(nested)
    assert path(graph, graph.end) == [
        (UNOWNED, "retrieve start", 10),
        ("retrieve", "embed start", 10),
        ("embed", "end", 30),
        ("retrieve", "search start", 10),
        ("search", "end", 30),
        ("retrieve", "end", 10),
    ]


def test_a_gain_is_no_more_than_what_another_stage_leaves_of_it():
    """Beyond its slack the other branch of a join is what one waits for."""
    graph = of(
        turn(
            row("stt", 0, 300, span=2),
            row("retrieval", 0, 500, span=3),
            row("llm", 500, 900, span=4, after=[(2, "end"), (3, "end")]),
        )
    )
    by_name = {stage.stage: index for index, stage in enumerate(graph.stages)}
    gains = {name: graph.gain(graph.end, [index], faster=0.5) / MS for name, index in by_name.items()}
    assert gains == {"stt": 0, "retrieval": 200, "llm": 200}
    assert graph.gain(graph.end, by_name.values(), faster=0.5) == 450 * MS


def test_the_turn_ends_when_all_of_its_stages_have():
    """What ran beside the last of them, in an outer stage or in the turn, leaves no more to be gained than it took."""
    beside = of(turn(row("a", 0, 500, span=2), row("b", 0, 480, span=3)))
    within = of(
        turn(
            row("gather", 0, 500, span=4),
            row("a", 0, 500, span=2, parent=4),
            row("b", 0, 480, span=3, parent=4),
        )
    )
    gains = [graph.gain(graph.end, [index], faster=0.5) / MS for graph, index in ((beside, 0), (within, 1))]
    assert gains == [20, 20]


def test_nobody_waits_within_a_stage_that_has_ended():
    """A task that was started by a stage and went on alone: the time before it is not that stage's."""
    graph = of(turn(row("enqueue", 0, 10, span=2), row("deliver", 700, 900, span=3, parent=2)))
    assert path(graph, graph.end) == [
        ("enqueue", "end", 10),
        (UNOWNED, "deliver start", 690),
        ("deliver", "end", 200),
    ]


def test_what_runs_on_beyond_the_end_was_there_until_then():
    """The last piece before the turn's end is its, and not nobody's."""
    own = row("", 0, 1000, span=1, parent=0, turn="answer")
    graph = of(build(own, [own, row("stt", 0, 400, span=2), row("index", 500, 1500, span=3)]))
    assert path(graph, graph.end) == [("stt", "end", 400), (UNOWNED, "index start", 100), ("index", "end", 500)]


def test_a_gate_that_lies_after_the_start_is_no_gate():
    """A declaration that cannot be true is passed over, and so is one of something unknown."""
    odd = turn(row("llm", 0, 100, span=2), row("tts", 50, 200, span=3, after=[(2, "end"), (9, "end"), (2, "nothing")]))
    graph = of(odd)
    assert path(graph, graph.end) == [("llm", "tts start", 50), ("tts", "end", 150)]


def test_the_turns_own_moments_are_what_the_youngest_stage_did():
    """A reply that is timed at the turn belongs to the synthesis that runs at that time."""
    told = turn(row("llm", 0, 900, span=2, ttfs=0.3), row("tts", 300, 1000, span=3), ttfs=0.3, ttfa=0.4)
    graph = of(told)
    assert path(graph, graph.goal) == [("llm", "first_sentence", 300), ("tts", "first_audio", 100)]


def test_moments_at_one_time_end_a_walk():
    """Stages without length that wait for each other are no endless loop."""
    told = turn(
        row("a", 0, 0, span=2, after=[(3, "end")]), row("b", 0, 0, span=3, after=[(2, "end")]), row("c", 0, 5, span=4)
    )
    graph = of(told)
    assert path(graph, graph.end) == [("c", "end", 5)]


@pytest.mark.parametrize("seed", range(300))
def test_random_pipelines(seed):
    """Whatever the order of arrival: every path sums to the interval, every predicted gain is the simulated one."""
    rng = random.Random(seed)
    pipeline = random_pipeline(rng)
    rows = pipeline.rows()
    rng.shuffle(rows)
    assembler = TurnAssembler()
    for one in rows:
        assembler.add([one], 0.0)
    (told,) = assembler.flush().final
    graph = of(told)
    at = {stage.span_id: index for index, stage in enumerate(told.stages)}
    step, milestone = pipeline.sink
    sink = next(
        number
        for number, node in enumerate(graph.nodes)
        if node.stage == at[span_id(step + 2)] and node.name == milestone
    )
    assert sum(tile.length_ns for tile in graph.walk(sink)) == pipeline.reached_ns
    assert sum(tile.length_ns for tile in graph.walk(graph.end)) == told.end_ns - told.start_ns
    ends = [START_NS, *(tile.end_ns for tile in graph.walk(sink))]
    assert [tile.start_ns for tile in graph.walk(sink)] == ends[:-1]
    for number in range(len(pipeline.steps)):
        gained = pipeline.reached_ns - pipeline.faster(number, 0.37).reached_ns
        assert graph.gain(sink, [at[span_id(number + 2)]], faster=0.37) == gained
        assert gained <= round(graph.exposed(sink)[at[span_id(number + 2)]] * 0.37) + len(pipeline.steps[number].work)
