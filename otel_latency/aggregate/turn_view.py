"""A turn as JSON (`/api/v1/turns/{trace_id}`), as a line of a list, and as what `/metrics` counts of it.

Times are Unix seconds, durations and milestones seconds; a stage's milestones count from its own start, the turn's from
the end of the user's speech where that is known. `critical_path` and `exposed_seconds` are those of the first audio,
or of the end where nothing is heard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from otel_latency.aggregate.path import NOBODY, UNOWNED, of
from otel_latency.aggregate.turn import Stage, Turn
from otel_latency.aggregate.verdict import Analysis, verdict

EXPOSED: Final = "otel_latency_turn_exposed_seconds"
MILESTONES: Final = {
    "first_token": "otel_latency_turn_time_to_first_token_seconds",
    "first_sentence": "otel_latency_turn_time_to_first_sentence_seconds",
    "tts_start": "otel_latency_turn_time_to_first_tts_seconds",
    "first_audio": "otel_latency_turn_time_to_first_audio_seconds",
}


class Observation(NamedTuple):
    """One value of a latency family of design §6; `time_ns` is the turn's end, in Unix nanoseconds."""

    family: str
    labels: tuple[tuple[str, str], ...]
    value: float
    time_ns: int
    trace_id: bytes
    span_id: bytes


def turn_json(turn: Turn) -> dict[str, object]:
    """All about one turn."""
    analysis = Analysis(turn)
    found = analysis.overlap
    rows = sorted(zip(turn.stages, analysis.exposed, strict=True), key=lambda row: (row[0].start_ns, row[0].end_ns))
    return {
        **turn_line(turn),
        "stages": [_stage(stage, exposed_ns) for stage, exposed_ns in rows],
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
        "service": turn.service,
        "turn": turn.turn,
        "session": turn.session or None,
        "status": turn.status,
        "start": turn.start_ns / 1e9,
        "duration_seconds": turn.duration,
        "milestones": dict(turn.milestones),
    }


def observations(turn: Turn) -> Iterator[Observation]:
    """What needs the whole turn: exposed seconds by stage, and milestones that its own span does not tell.

    An interrupted turn has none: how long somebody listened is no latency.
    """
    if turn.status == "interrupted":
        return
    here = ("service", turn.service), ("turn", turn.turn)
    last = turn.end_ns, turn.trace_id, turn.span_id
    for stage, exposed_ns in _exposed(turn).items():
        yield Observation(EXPOSED, (*here, ("stage", stage)), exposed_ns / 1e9, *last)
    told = {name for name, _ in turn.moments}
    for milestone, family in MILESTONES.items():
        if milestone in turn.milestones and milestone not in told:
            yield Observation(family, here, turn.milestones[milestone], *last)


def _exposed(turn: Turn) -> dict[str, int]:
    """Nanoseconds on the critical path by stage name; every stage of the turn is there, be it with zero."""
    if len(turn.stages) == 1 and turn.stages[0].span_id == turn.span_id and "first_audio" not in turn.milestones:
        return {turn.stages[0].stage: turn.end_ns - turn.start_ns}  # a stage outside of any turn, as most traces have
    exposed: defaultdict[str, int] = defaultdict(int)
    graph = of(turn)
    for stage, exposed_ns in zip(turn.stages, graph.exposed(graph.goal), strict=True):
        exposed[stage.stage] += exposed_ns
    return exposed


def _stage(stage: Stage, exposed_ns: int) -> dict[str, object]:
    return {
        "span_id": stage.span_id.hex(),
        "stage": stage.stage,
        "start": stage.start_ns / 1e9,
        "end": stage.end_ns / 1e9,
        "status": stage.status,
        "milestones": {name: (at - stage.start_ns) / 1e9 for name, at in stage.milestones},
        "busy_seconds": stage.busy_ns / 1e9,
        "exposed_seconds": exposed_ns / 1e9,
    }
