"""How much of a turn's work happened side by side: sum, union and wall of its stages, and the time nobody worked.

    S  sum of what the stages were busy      saved        S - U: what running side by side saved
    U  time in which at least one was        concurrency  S / W
    W  wall time of the turn                 unowned      W - U: gaps in which no stage ran

Busy is what happened within the turn; the time of inner stages is theirs alone, so nesting is no overlap. A stage is
exposed for its time on the critical path, and hidden for the rest. Cost: a sort of the stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otel_latency.aggregate.path import Graph
from otel_latency.aggregate.turn import Stage, Turn


@dataclass(frozen=True, slots=True)
class Overlap:
    """All in nanoseconds but `concurrency`; `gaps` are the intervals without a stage."""

    sum_ns: int
    union_ns: int
    wall_ns: int
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def saved_ns(self) -> int:
        return self.sum_ns - self.union_ns

    @property
    def unowned_ns(self) -> int:
        return self.wall_ns - self.union_ns

    @property
    def concurrency(self) -> float:
        return self.sum_ns / self.wall_ns if self.wall_ns else 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """What a stage contributed to the wait at a sink. `slack_ns` None: the sink did not wait for it at all."""

    exposed_ns: int
    hidden: float
    slack_ns: int | None


def overlap(turn: Turn) -> Overlap:
    """Over the whole turn, from its start to its end."""
    merged = list(_merged(turn.stages, turn.start_ns, turn.end_ns))
    inside = [_busy_inside(stage, turn.start_ns, turn.end_ns) for stage in turn.stages]
    return Overlap(
        sum_ns=sum(inside),
        union_ns=sum(end - start for start, end in merged),
        wall_ns=max(turn.end_ns - turn.start_ns, 0),
        gaps=tuple(_gaps(merged, turn.start_ns, turn.end_ns)),
    )


def shares(graph: Graph, sink: int) -> list[Share]:
    """Exposed and hidden time of each stage, as seen from *sink*."""
    found = []
    for stage, exposed_ns, slack_ns in zip(graph.stages, graph.exposed(sink), graph.slack(sink), strict=True):
        hidden = 1 - exposed_ns / stage.busy_ns if stage.busy_ns else 0.0
        found.append(Share(exposed_ns, min(max(hidden, 0.0), 1.0), slack_ns))
    return found


def _busy_inside(stage: Stage, start_ns: int, end_ns: int) -> int:
    """Of what the stage was busy, the part within the turn: what lies outside is taken off."""
    outside = max(start_ns - stage.start_ns, 0) + max(stage.end_ns - end_ns, 0)
    return max(stage.busy_ns - outside, 0)


def _merged(stages: Sequence[Stage], start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    """The stages' intervals within the turn, joined where they touch, in order."""
    begin = until = start_ns
    for start, end in sorted((max(one.start_ns, start_ns), min(one.end_ns, end_ns)) for one in stages):
        if start > until:
            if until > begin:
                yield begin, until
            begin = start
        until = max(until, end) if start <= until else max(start, end)
    if until > begin:
        yield begin, until


def _gaps(merged: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    until = start_ns
    for start, end in merged:
        if start > until:
            yield until, start
        until = end
    if end_ns > until:
        yield until, end_ns
