"""A turn as a request with offsets: from the spans that it was put together of, or as an agent's API shows it.

A stage becomes the moments `llm start`, its milestones (`llm first_token`) and `llm end`. The critical path comes
along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otel_latency.aggregate.path import UNOWNED
from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.verdict import Analysis, verdict
from otel_latency.insight.requests import LLM, Moment, Request, Step, Tile, seconds_of


class _Stage(NamedTuple):
    """Offsets are seconds from the turn's start."""

    stage: str
    service: str
    start: float
    end: float
    milestones: Sequence[tuple[str, float]]
    is_llm: bool


def request_of_turn(turn: Turn, prompt_tokens: float | None = None) -> Request:
    """The request that a turn was."""

    def offset(time_ns: int) -> float:
        return (time_ns - turn.start_ns) / 1e9

    stages = [
        _Stage(
            *(one.stage, one.service, offset(one.start_ns), offset(one.end_ns)),
            _offsets(one.milestones, offset),
            one.llm is not None,
        )
        for one in turn.stages
    ]
    analysis = Analysis(turn)
    names = [*(one.stage for one in turn.stages), UNOWNED]  # the index of nobody is -1
    moments, steps = _laid_out(stages, _offsets(turn.moments, offset), turn.service)
    return Request(
        turn.request_id or turn.trace_id.hex(),
        turn.start_ns / 1e9,
        turn.duration,
        moments,
        steps,
        status=turn.status,
        verdict=verdict(analysis),
        path=tuple(
            Tile(names[tile.stage], tile.gate, offset(tile.start_ns), offset(tile.end_ns)) for tile in analysis.path
        ),
        milestones=turn.milestones,
        session=turn.session,
        prompt_tokens=prompt_tokens,
        llm_seconds=sum((one.end_ns - one.start_ns) / 1e9 for one in turn.stages if one.llm) or None,
    )


def request_of_document(turn: Mapping[str, Any]) -> Request:
    """The request that a turn was, as `/api/v1/turns/{trace_id}` tells it. Raises KeyError when that is no turn."""
    start = float(turn["start"])
    service = str(turn["service"])
    stages = [
        _Stage(
            str(one["stage"]),
            str(one.get("service") or service),
            one["start"] - start,
            one["end"] - start,
            sorted(((name, one["start"] - start + at) for name, at in one["milestones"].items()), key=_at),
            bool(one.get("llm")),
        )
        for one in turn["stages"]
    ]
    calls = [one for one in turn["stages"] if one.get("llm")]
    tokens = [count for one in calls if (count := one["llm"].get("input_tokens")) is not None]
    moments, steps = _laid_out(stages, (), service)
    return Request(
        str(turn.get("request_id") or turn["trace_id"]),
        start,
        float(turn["duration_seconds"]),
        moments,
        steps,
        status=str(turn["status"]),
        verdict=str(turn["verdict"]),
        path=tuple(
            Tile(str(one["stage"]), str(one["gate"]), one["from"] - start, one["to"] - start)
            for one in turn["critical_path"]
        ),
        milestones=dict(turn["milestones"]),
        session=str(turn.get("session") or ""),
        prompt_tokens=float(tokens[0]) if tokens else None,
        llm_seconds=sum(one["end"] - one["start"] for one in calls) if calls else seconds_of(LLM, steps),
    )


def _offsets(times: Iterable[tuple[str, int]], offset: Callable[[int], float]) -> list[tuple[str, float]]:
    return [(name, offset(at)) for name, at in times]


def _laid_out(
    stages: Sequence[_Stage], own: Iterable[tuple[str, float]], service: str
) -> tuple[tuple[Moment, ...], tuple[Step, ...]]:
    """The moments of all stages in the order of time, and the stages as steps between them."""
    laid: list[tuple[Moment, int]] = [(Moment(at, service, name), -1) for name, at in own]
    for index, stage in sorted(enumerate(stages), key=_began):
        laid.append((Moment(stage.start, stage.service, f"{stage.stage} start"), index))
        laid += [(Moment(at, stage.service, f"{stage.stage} {name}"), -1) for name, at in stage.milestones]
        laid.append((Moment(stage.end, stage.service, f"{stage.stage} end"), index))
    laid.sort(key=_offset)
    places: dict[int, list[int]] = {}
    for place, (_, index) in enumerate(laid):
        places.setdefault(index, []).append(place)
    steps = [
        Step(stage.stage, places[index][0], places[index][-1], stage.end - stage.start, stage.is_llm)
        for index, stage in enumerate(stages)
    ]
    steps.sort(key=_closing)
    return tuple(moment for moment, _ in laid), tuple(steps)


def _began(numbered: tuple[int, _Stage]) -> float:
    return round(numbered[1].start, 6)


def _offset(laid: tuple[Moment, int]) -> float:
    return round(laid[0].offset, 6)  # Unix seconds know no more: what was at once stays in the order of the stages


def _at(milestone: tuple[str, float]) -> float:
    return milestone[1]


def _closing(step: Step) -> int:
    return step.closing
