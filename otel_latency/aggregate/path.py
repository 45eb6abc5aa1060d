"""What waited for what: the gates of a turn, the critical path through them, slack, and what a faster stage gains.

A node is a moment: a stage's start, its milestones, its end. An edge says "not before that": within a stage from each
moment to the next (and from the ends of inner stages to what the outer one, or the turn, reaches next); between stages
from a gate to a start. A start that declared its gates (`after`) has those, any other the latest earlier milestone or
end of another stage. A node is reached when its last gate is, and the node's own delay after that; delays stay as they
were when a stage is made faster in thought.

Promises: the tiles of a path follow each other without gap or overlap, so they sum to the interval exactly, in integer
nanoseconds; a stage that streams into the next is exposed up to the milestone that the next one waited for, not to its
end. Time between a declared gate and the start that it opened is the outer stage's, or where none runs nobody's:
`UNOWNED`. Before an undeclared start it is that of the stage which went on producing, if one did: a tool that tells of
no first sentence still streams. So is the time before the turn's end, while a stage runs on beyond it.

Cost: about 0.7 us per node; memory in proportion. A graph is made of one turn and never changes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Final, NamedTuple

from otel_latency.aggregate.turn import Stage, Turn

UNOWNED: Final = "unowned"
NOBODY: Final = -1
"""The index of the stage that a moment outside of all stages belongs to."""
AUDIO: Final = ("first_audible", "first_audio")
"""What the user waits for, the best evidence first."""
MAX_STREAMS: Final = 8
"""Models that may be what an undeclared start had waited for: those called last."""
_REQUEST: Final = -1
"""The rank of the request, before every stage's."""
_END: Final = 2
"""The step that ends the turn, after what nobody did at that moment."""


class Node(NamedTuple):
    """A moment of *stage* in the fixed graph.

    `gates` are indices of earlier nodes; `delay_ns` counts from the last of them, and is the time of stage `owner`.
    """

    stage: int
    name: str
    time_ns: int
    gates: tuple[int, ...]
    delay_ns: int
    owner: int
    is_start: bool


class Tile(NamedTuple):
    """A piece of a path: *stage* (an index, or `NOBODY`) worked towards the moment *gate*, which is *node*."""

    stage: int
    gate: str
    start_ns: int
    end_ns: int
    node: int

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


class Graph:
    """The moments of a turn between *start_ns* and *end_ns*, with their gates. Each stage's parent comes before it."""

    def __init__(
        self,
        stages: Sequence[Stage],
        start_ns: int,
        end_ns: int,
        moments: Sequence[tuple[str, int]] = (),
    ) -> None:
        """*moments* are the turn's own; one that no stage tells of is what the youngest running stage did."""
        self.stages = stages
        end = max(end_ns, start_ns), len(stages), _END, NOBODY, "end"
        # What the nodes are made of, each list in their order: a walk needs nothing else, and is done for every turn.
        self._moments = _ordered(stages, start_ns, end, _placed(stages, moments) if moments else {})
        self.end = self._moments.index(end)
        """The node at which the turn ends."""
        self._gates: list[int] = []  # the last gate of each
        self._owners: list[int] = []
        self._joins: dict[int, tuple[int, ...]] = {}  # all gates of those that have several
        self._link()

    @cached_property
    def nodes(self) -> list[Node]:
        """Every moment in an order in which gates come before what they open; the first is the request."""
        made: list[Node] = []
        ends: defaultdict[int, list[int]] = defaultdict(list)  # of those within a stage, or the turn
        parts = zip(self._moments, self._gates, self._owners, strict=True)
        for index, ((time_ns, _, step, at, name), gate, owner) in enumerate(parts):
            gates = self._joins.get(index, (gate,)) if index else ()
            if index == self.end:
                gates = tuple({*gates, *ends[NOBODY]})
            elif at != NOBODY and step and name == "end":
                gates = tuple({*gates, *ends[at]})
                ends[self.stages[at].parent].append(index)
            is_start = at != NOBODY and not step
            made.append(Node(at, name, time_ns, gates, time_ns - self._moments[gate][0], owner, is_start))
        return made

    def first(self, *names: str) -> int | None:
        """The node of the earliest milestone of a name; of several names, the first that there is."""
        for wanted in names:
            for index, moment in enumerate(self._moments):
                if moment[4] == wanted and moment[2]:
                    return index
        return None

    @property
    def goal(self) -> int:
        """The node at which the user hears something, or the end where nobody does."""
        audio = self.first(*AUDIO)
        return self.end if audio is None else audio

    def walk(self, sink: int) -> list[Tile]:
        """The critical path from the turn's origin to *sink*, in order of time. Tiles of no length are left out."""
        tiles = []
        at = sink
        while at:
            gate = self._gates[at]
            start_ns, end_ns = self._moments[gate][0], self._moments[at][0]
            if start_ns < end_ns:
                tiles.append(Tile(self._owners[at], self._reached(at), start_ns, end_ns, at))
            at = gate
        return tiles[::-1]

    def exposed(self, sink: int) -> list[int]:
        """Nanoseconds of each stage on the path to *sink*."""
        shares = [0] * (len(self.stages) + 1)  # the last is nobody's
        gates, owners, moments = self._gates, self._owners, self._moments
        while sink:
            gate = gates[sink]
            shares[owners[sink]] += moments[sink][0] - moments[gate][0]
            sink = gate
        return shares[:-1]

    def slack(self, sink: int) -> list[int | None]:
        """By how many nanoseconds each stage could be later without *sink* being later; None: it does not matter."""
        latest: list[int | None] = [None] * len(self.nodes)
        latest[sink] = self.nodes[sink].time_ns
        for index in range(sink, 0, -1):
            until = latest[index]
            if until is None:
                continue
            node = self.nodes[index]
            for gate in node.gates:
                other = latest[gate]
                latest[gate] = until - node.delay_ns if other is None else min(other, until - node.delay_ns)
        spare: list[int | None] = [None] * len(self.stages)
        for node, until in zip(self.nodes, latest, strict=True):
            if until is not None and node.stage != NOBODY:
                known, mine = spare[node.stage], until - node.time_ns
                spare[node.stage] = mine if known is None else min(known, mine)
        return spare

    def gain(self, sink: int, stages: Collection[int], *, faster: float) -> int:
        """Nanoseconds by which *sink* comes earlier when *stages* take the fraction *faster* less for all they do."""
        times: list[int] = []
        for node in self.nodes[: sink + 1]:
            delay = node.delay_ns - round(node.delay_ns * faster) if node.owner in stages else node.delay_ns
            times.append(max([times[gate] for gate in node.gates], default=node.time_ns) + delay)
        return self.nodes[sink].time_ns - times[sink]

    def _reached(self, index: int) -> str:
        _, _, step, at, name = self._moments[index]
        return f"{self.stages[at].stage} start" if at != NOBODY and not step else name

    def _link(self) -> None:
        """Give each moment its gates, in one pass: what may be a gate comes earlier in the order."""
        stages, ordered = self.stages, self._moments
        awaited = _awaited(stages, ordered)
        last = [0] * len(stages)  # the latest node of each stage
        inner_end = [0] * (len(stages) + 1)  # the latest end of a stage inside it; the last is nobody's
        latest = 0  # the latest milestone or end of any stage
        streams: deque[int] = deque(maxlen=MAX_STREAMS)  # the models called last
        is_nested = any(stage.parent != NOBODY for stage in stages)
        gate_of, owner_of = self._gates.append, self._owners.append
        for index, (_, _, step, at, name) in enumerate(ordered):
            if index == self.end:
                gate, owner = self._ending(latest, last)
            elif at == NOBODY:
                gate, owner = latest, NOBODY
            elif step:
                gate, owner = last[at], at
                latest = last[at] = index
                if is_nested:
                    if inner_end[at] > gate:
                        self._joins[index] = gate, inner_end[at]
                        gate = inner_end[at]
                    if name == "end":
                        inner_end[stages[at].parent] = index
            else:
                stage = stages[at]
                gate, owner = self._beginning(index, stage, latest, last, awaited, streams)
                if stage.llm is not None or stage.stage == "llm":
                    streams.append(at)
                last[at] = index
            gate_of(gate)
            owner_of(owner)

    def _beginning(
        self,
        index: int,
        stage: Stage,
        latest: int,
        last: Sequence[int],
        awaited: dict[tuple[bytes, str], int],
        streams: Iterable[int],
    ) -> tuple[int, int]:
        """What the start of *stage*, which is moment *index*, came after, and whose time that was."""
        gate, owner, is_declared = latest, stage.parent, False
        if stage.waits or owner != NOBODY:
            declared = [awaited[one] for one in stage.waits if awaited.get(one, index) < index]
            gates, is_declared = _opened_by(stage, declared, latest, last), bool(declared)
            gate = max(gates)
            self._joins[index] = gates
        since_ns, until_ns = self._moments[gate][0], self._moments[index][0]
        while owner != NOBODY and not (
            self.stages[owner].start_ns <= since_ns and until_ns <= self.stages[owner].end_ns
        ):
            owner = self.stages[owner].parent
        if not is_declared and since_ns < until_ns:
            owner = self._streaming(gate, stage, owner, streams)
        return gate, owner

    def _ending(self, latest: int, last: Sequence[int]) -> tuple[int, int]:
        """What the turn's end came after, and whose time that was: that of the youngest stage that still ran."""
        end_ns = self._moments[self.end][0]
        running = [at for at, stage in enumerate(self.stages) if stage.start_ns < end_ns < stage.end_ns]
        if not running:
            return latest, NOBODY
        youngest = max(running, key=lambda at: self.stages[at].start_ns)
        return max(latest, last[youngest]), youngest

    def _streaming(self, gate: int, opened: Stage, outer: int, streams: Iterable[int]) -> int:
        """Whose time lies before a start that declared nothing: the stage's that went on producing, if one did."""
        time_ns, _, _, first, _ = self._moments[gate]
        for at in (first, *streams):
            if at in (NOBODY, opened.parent):
                continue
            other = self.stages[at]
            if other.start_ns <= time_ns and other.end_ns >= opened.start_ns:
                return at
        return outer


def _awaited(stages: Sequence[Stage], ordered: Sequence[_Moment]) -> dict[tuple[bytes, str], int]:
    """The moments of those stages that others declared to wait for, by span and name."""
    producers = {span_id for stage in stages if stage.waits for span_id, _ in stage.waits}
    found: dict[tuple[bytes, str], int] = {}
    if producers:
        for index, (_, _, _, at, name) in enumerate(ordered):
            if at != NOBODY and (span_id := stages[at].span_id) in producers:
                found.setdefault((span_id, name), index)
    return found


def _opened_by(stage: Stage, declared: list[int], latest: int, last: Sequence[int]) -> tuple[int, ...]:
    """The gates of a start: declared ones that had been reached, else the latest moment; and the outer stage's."""
    gates = declared or [latest]
    if stage.parent != NOBODY and last[stage.parent] not in gates:
        return *gates, last[stage.parent]
    return tuple(gates)


def of(turn: Turn) -> Graph:
    """The graph of a whole turn, from its origin."""
    return Graph(turn.stages, turn.origin_ns, turn.end_ns, turn.moments)


_Moment = tuple[int, int, int, int, str]
"""Time, its stage's rank, step in it (0: the start), stage, name. Sorts by time; at the same time what began earlier
goes first, so a gate is before what it opens, an inner stage's end before the outer one's, nobody's moments last."""


def _ordered(
    stages: Sequence[Stage], start_ns: int, end: _Moment, placed: dict[int, list[tuple[str, int]]]
) -> list[_Moment]:
    moments: list[_Moment] = [(start_ns, _REQUEST, 0, NOBODY, "request"), end]
    ranks = [_REQUEST] * len(stages)
    for rank, index in enumerate(_by_start(stages)):
        stage = stages[index]
        ranks[index] = rank
        began, ended = stage.start_ns, stage.end_ns
        if began < start_ns:
            began, ended = start_ns, max(ended, start_ns)
        moments.append((began, rank, 0, index, "start"))
        if stage.milestones or index in placed:
            told = sorted([*placed.get(index, ()), *stage.milestones, ("end", ended)], key=itemgetter(1))
            step = 1
            for name, at in told:
                moments.append((max(at, began), rank, step, index, name))
                step += 1
        elif began < ended and stage.parent != NOBODY and stages[stage.parent].end_ns == ended:
            moments.append((ended, *_before_outer(stages, ranks, index), index, "end"))
        else:
            moments.append((ended, rank, 1, index, "end"))
    if NOBODY in placed:
        moments += [(max(at, start_ns), len(stages), 1, NOBODY, name) for name, at in placed[NOBODY]]
    moments.sort()
    return moments


def _before_outer(stages: Sequence[Stage], ranks: Sequence[int], index: int) -> tuple[int, int]:
    """Rank and step of an end among what ends at that very moment: before the stages around it, the innermost first."""
    rank, step, outer = ranks[index], 0, stages[index].parent
    while outer != NOBODY and ranks[outer] != _REQUEST and stages[outer].end_ns == stages[index].end_ns:
        rank, step, outer = ranks[outer], step - 1, stages[outer].parent
    return rank, step or 1


def _by_start(stages: Sequence[Stage]) -> list[int]:
    """Indices in order of the starts; of those that start together, outer ones and producers go first."""
    depths: list[int] = []
    keys = []
    for index, stage in enumerate(stages):
        depth = 0 if stage.parent == NOBODY else depths[stage.parent] + 1
        depths.append(depth)
        keys.append((stage.start_ns, depth, stage.end_ns, stage.span_id, index))
    keys.sort()
    order = [key[4] for key in keys]
    if len({key[0] for key in keys}) == len(keys):
        return order
    together = _started_together(stages)
    return _producers_first(order, together) if together else order


def _started_together(stages: Sequence[Stage]) -> dict[int, list[int]]:
    """The producers that a stage declared to wait for and that started at the same time, by stage."""
    waiting = [index for index, stage in enumerate(stages) if stage.waits]
    if not waiting:
        return {}
    position = {stage.span_id: index for index, stage in enumerate(stages)}
    together: dict[int, list[int]] = {}
    for index in waiting:
        for waited, _ in stages[index].waits:
            other = position.get(waited)
            if other is not None and stages[other].start_ns == stages[index].start_ns:
                together.setdefault(index, []).append(other)
    return together


def _producers_first(order: list[int], producers: dict[int, list[int]]) -> list[int]:
    placed: dict[int, None] = {}
    for first in order:
        pending, on_the_way = [first], {first}
        while pending:
            before = [one for one in producers.get(pending[-1], ()) if not (one in placed or one in on_the_way)]
            on_the_way.update(before)
            pending += before
            if not before:
                placed[pending.pop()] = None
    return list(placed)


def _placed(stages: Sequence[Stage], moments: Sequence[tuple[str, int]]) -> dict[int, list[tuple[str, int]]]:
    """The turn's own moments that no stage tells of, by the stage which began last of those then running."""
    placed: dict[int, list[tuple[str, int]]] = {}
    if not moments:
        return placed
    told = {name for stage in stages if stage.milestones for name, _ in stage.milestones}
    for name, at in moments:
        if name not in told:
            placed.setdefault(max(_running(stages, at), default=(0, NOBODY))[1], []).append((name, at))
    return placed


def _running(stages: Sequence[Stage], at: int) -> Iterator[tuple[int, int]]:
    return ((one.start_ns, index) for index, one in enumerate(stages) if one.start_ns < at <= one.end_ns)
