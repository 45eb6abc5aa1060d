"""A turn as JSON (`/api/v1/turns/{trace_id}`), as a line of a list, and as what `/metrics` counts of it.

Times are Unix seconds, durations and milestones seconds; a stage's milestones count from its own start, the turn's from
the end of the user's speech where that is known. `critical_path` and `exposed_seconds` are those of the first audio,
or of the end where nothing is heard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Final, NamedTuple

from otel_latency.aggregate.path import AUDIO, NOBODY, UNOWNED, of
from otel_latency.aggregate.turn import Stage, Turn, Usage
from otel_latency.aggregate.verdict import Analysis, verdict
from otel_latency.records import Labels, LLMProfile

EXPOSED: Final = "otel_latency_turn_exposed_seconds"
MILESTONES: Final = {
    "first_token": "otel_latency_turn_time_to_first_token_seconds",
    "first_sentence": "otel_latency_turn_time_to_first_sentence_seconds",
    "tts_start": "otel_latency_turn_time_to_first_tts_seconds",
    "first_audio": "otel_latency_turn_time_to_first_audio_seconds",
}


NAMED: Final = 3
"""Stages that a message names, those first that took most of the wait."""
WORTH_TELLING: Final = 0.01
"""A part of the wait that is not left out of a message."""


class Observation(NamedTuple):
    """One value of a latency family of design §6; `time_ns` is the turn's end, in Unix nanoseconds."""

    family: str
    labels: tuple[tuple[str, str], ...]
    value: float
    time_ns: int
    trace_id: bytes
    span_id: bytes


_observation: Final = partial(tuple.__new__, Observation)


def turn_json(turn: Turn) -> dict[str, object]:
    """All about one turn."""
    analysis = Analysis(turn)
    found = analysis.overlap
    rows = sorted(zip(turn.stages, analysis.exposed, strict=True), key=lambda row: (row[0].start_ns, row[0].end_ns))
    return {
        **turn_line(turn),
        "stages": [_stage(turn, stage, exposed_ns) for stage, exposed_ns in rows],
        "critical_path": [
            {
                "stage": UNOWNED if tile.stage == NOBODY else turn.stages[tile.stage].stage,
                "gate": tile.gate,
                "from": tile.start_ns / 1e9,
                "to": tile.end_ns / 1e9,
                "seconds": tile.length_ns / 1e9,
            }
            for tile in analysis.path
        ],
        "overlap": {
            "sum_seconds": found.sum_ns / 1e9,
            "union_seconds": found.union_ns / 1e9,
            "wall_seconds": found.wall_ns / 1e9,
            "saved_seconds": found.saved_ns / 1e9,
            "concurrency": found.concurrency,
        },
        "verdict": verdict(analysis),
    }


def turn_line(turn: Turn) -> dict[str, object]:
    """What a list of turns shows of each."""
    return {
        "trace_id": turn.trace_id.hex(),
        "span_id": turn.span_id.hex() or None,
        "request_id": turn.request_id or None,
        "service": turn.service,
        "turn": turn.turn,
        "session": turn.session or None,
        "status": turn.status,
        "start": turn.start_ns / 1e9,
        "duration_seconds": turn.duration,
        "milestones": dict(turn.milestones),
    }


def critical_text(turn: Turn) -> str:
    """What the wait was made of, for a message: `llm 1.42 s (58 %), tts 0.61 s (25 %), unowned 0.20 s`."""
    graph = of(turn)
    tiles = graph.walk(graph.goal)
    total = sum(tile.length_ns for tile in tiles)
    taken: Counter[str] = Counter()
    for tile in tiles:
        taken[UNOWNED if tile.stage == NOBODY else turn.stages[tile.stage].stage] += tile.length_ns
    unowned = taken.pop(UNOWNED, 0)
    worst = [(stage, ns) for stage, ns in taken.most_common(NAMED) if ns > total * WORTH_TELLING]
    words = [f"{stage} {ns / 1e9:.2f} s ({100 * ns / total:.0f} %)" for stage, ns in worst]
    if unowned > total * WORTH_TELLING:
        words.append(f"{UNOWNED} {unowned / 1e9:.2f} s")
    return ", ".join(words)


def observations(turn: Turn) -> Iterator[Observation]:
    """What needs the whole turn: exposed seconds by stage, and milestones that its own span does not tell.

    An interrupted turn has none: how long somebody listened is no latency.
    """
    if turn.status == "interrupted":
        return
    last = turn.end_ns, turn.trace_id, turn.span_id
    for stage, exposed_ns in _exposed(turn).items():
        yield _observation((EXPOSED, _labels(turn.service, turn.turn, stage), exposed_ns / 1e9, *last))
    if len(turn.milestones) == len(turn.moments):
        return
    told = {name for name, _ in turn.moments}
    for milestone, family in MILESTONES.items():
        if milestone in turn.milestones and milestone not in told:
            labels = _labels(turn.service, turn.turn, "")
            yield _observation((family, labels, turn.milestones[milestone], *last))


@lru_cache(maxsize=1024)
def _labels(service: str, turn: str, stage: str) -> Labels:
    """Kept, so that whoever looks them up finds the same object again."""
    here = ("service", service), ("turn", turn)
    return (*here, ("stage", stage)) if stage else here


def _exposed(turn: Turn) -> Mapping[str, int]:
    """Nanoseconds on the critical path by stage name; every stage of the turn is there, be it with zero."""
    stages = turn.stages
    if len(stages) == 1 and turn.milestones.keys().isdisjoint(AUDIO):
        (stage,) = stages  # outside of any turn, as in most traces
        if (stage.start_ns, stage.end_ns) == (turn.origin_ns, turn.end_ns):
            return {stage.stage: stage.end_ns - stage.start_ns}
    exposed: dict[str, int] = {}
    graph = of(turn)
    for stage, exposed_ns in zip(stages, graph.exposed(graph.goal), strict=True):
        exposed[stage.stage] = exposed.get(stage.stage, 0) + exposed_ns
    return exposed


def _stage(turn: Turn, stage: Stage, exposed_ns: int) -> dict[str, object]:
    around = turn.span_id if stage.parent == NOBODY else turn.stages[stage.parent].span_id
    return {
        "span_id": stage.span_id.hex(),
        "parent_span_id": around.hex() if around != stage.span_id and around else None,
        "service": stage.service,
        "stage": stage.stage,
        "start": stage.start_ns / 1e9,
        "end": stage.end_ns / 1e9,
        "status": stage.status,
        "milestones": {name: (at - stage.start_ns) / 1e9 for name, at in stage.milestones},
        "busy_seconds": stage.busy_ns / 1e9,
        "exposed_seconds": exposed_ns / 1e9,
        **({} if stage.llm is None else {"llm": _call(stage.llm, stage.usage())}),
    }


def _call(llm: LLMProfile, usage: Usage) -> dict[str, object]:
    """A call of a model; what is not known of it is null."""
    names = {name: getattr(llm, name) or None for name in ("provider", "model", "task")}
    return {**names, **usage._asdict()}
