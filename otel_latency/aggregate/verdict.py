"""A turn in words: sequential or overlapped, which stage to attack and what that gains, who is being waited for.

    Overlapped: 4.05 s of work in 2.90 s, 1.15 s saved. First audio comes after 1.25 s, 0.70 s of it llm: waiting for
    the service openai gpt-4o. Twice as fast, it would bring first audio 0.35 s earlier. ...

Who is waited for is told by what a tile of the critical path is: a model or another service, a setting (how long to
listen for the end of speech), the application's own code, a blocked event loop, or the way between two services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from otel_latency.aggregate.overlap import Overlap, overlap
from otel_latency.aggregate.path import NOBODY, Graph, Tile, of
from otel_latency.aggregate.turn import NO_ROOT, SKEWED, TRUNCATED, Stage, Turn

SERVICE: Final = "service"
SETTING: Final = "setting"
OWN_CODE: Final = "own code"
EVENT_LOOP: Final = "event loop"
NETWORK: Final = "network"

END: Final = "the end"
"""What is waited for where nothing is heard."""
SIDE_BY_SIDE: Final = 0.05
"""With less than this share of the work done side by side, a turn is sequential."""
HALF: Final = 0.5
_MUCH_NS: Final = 20_000_000
"""Less is not worth a word."""
_FEW_NS: Final = 10_000_000

_LISTENING: Final = ("endpoint", "eou", "vad", "turn_detection", "end_of_turn", "end_of_utterance", "debounce")
_BLOCKED: Final = ("event_loop_blocked", "event_loop_stall")
_REMOTE: Final = ("llm", "stt", "tts", "speech", "transcri", "synthes", "embed", "rerank")
_SPEAKING: Final = ("tts", "speech", "synthes", "speak")
_READY: Final = ("first_sentence", "first_answer_token", "first_token")
"""What a stage that streams could have handed over before its end, the best first."""
_MARKS: Final = {
    NO_ROOT: "the turn's own span never came",
    SKEWED: "clocks of its services disagree",
    TRUNCATED: "spans are missing",
}


@dataclass(frozen=True, slots=True)
class Part:
    """What the stages of one name (or nobody) took of the wait, and who that was spent on."""

    name: str
    owner: str
    exposed_ns: int
    stages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """A stage began only when another had ended, though that had something for it *early_ns* before."""

    consumer: str
    producer: str
    milestone: str
    early_ns: int


class Analysis:
    """All that is thought about one turn, made once: its graph, overlap and critical path to what the user waits for.

    That is the first audio where there is any, else the end.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.graph: Graph = of(turn)
        self.overlap: Overlap = overlap(turn)
        self.sink = self.graph.goal
        self.goal = END if self.sink == self.graph.end else "first audio"
        self.path: list[Tile] = self.graph.walk(self.sink)
        self.exposed: list[int] = self.graph.exposed(self.sink)
        self._blocked = [stage for stage in turn.stages if _is_named(stage, _BLOCKED)]

    @property
    def is_sequential(self) -> bool:
        """Whether its stages follow each other, as good as without overlap."""
        return self.overlap.saved_ns <= self.overlap.sum_ns * SIDE_BY_SIDE

    def parts(self) -> list[Part]:
        """Shares of the critical path, the largest first."""
        found: defaultdict[tuple[str, str], list[Tile]] = defaultdict(list)
        for tile in self.path:
            found[self._name(tile.stage), self.owner(tile)].append(tile)
        parts = [
            Part(name, owner, sum(one.length_ns for one in tiles), tuple({one.stage for one in tiles} - {NOBODY}))
            for (name, owner), tiles in found.items()
        ]
        return sorted(parts, key=lambda part: -part.exposed_ns)

    def owner(self, tile: Tile) -> str:
        """Who is waited for in a tile."""
        if tile.stage != NOBODY:
            return _owner(self.turn, self.turn.stages[tile.stage])
        if sum(_common_ns(stage, tile) for stage in self._blocked) >= tile.length_ns * HALF:
            return EVENT_LOOP
        return NETWORK if self._crosses(tile) else OWN_CODE

    def missed(self) -> Missed | None:
        """The largest overlap that the turn let pass."""
        return max(self._all_missed(), key=lambda one: one.early_ns, default=None)

    def _all_missed(self) -> Iterator[Missed]:
        for node in self.graph.nodes:
            if not node.is_start or not _is_named(self.turn.stages[node.stage], _SPEAKING):
                continue
            gate = self.graph.nodes[max(node.gates)]
            if gate.stage == NOBODY or gate.name != "end":
                continue
            consumer, producer = self.turn.stages[node.stage], self.turn.stages[gate.stage]
            ready = _ready(producer)
            if ready is not None:
                yield Missed(consumer.stage, producer.stage, ready[0], gate.time_ns - ready[1])

    def _crosses(self, tile: Tile) -> bool:
        """Whether nobody's time lies between the work of two services."""
        node = self.graph.nodes[tile.node]
        gate = self.graph.nodes[max(node.gates)]
        before, after = (
            self.turn.service if one.stage == NOBODY else self.turn.stages[one.stage].service for one in (gate, node)
        )
        return before != after

    def _name(self, stage: int) -> str:
        return "outside of all stages" if stage == NOBODY else self.turn.stages[stage].stage


def verdict(analysis: Analysis) -> str:
    """The turn in a few plain sentences."""
    return " ".join(_sentences(analysis))


def _sentences(analysis: Analysis) -> Iterator[str]:
    turn, parts = analysis.turn, analysis.parts()
    if turn.status != "ok":
        yield _ending(turn)
    if turn.fallback:
        yield f"{turn.fallback} stood in for what failed."
    yield _shape(analysis)
    if parts and turn.stages and not _is_cut_short(analysis):
        yield from _attack(analysis, parts[0])
        yield from _waits(analysis, parts[1:])
    missed = analysis.missed()
    if missed is not None and missed.early_ns >= _MUCH_NS:
        yield (
            f"{missed.consumer} began only after {missed.producer} had ended, though its {_plain(missed.milestone)} "
            f"was there {_seconds(missed.early_ns)} before: hand it over as it streams."
        )
    remarks = [words for mark, words in _MARKS.items() if mark in turn.marks]
    if remarks:
        yield f"Take this with care: {' and '.join(remarks)}."


def _is_cut_short(analysis: Analysis) -> bool:
    """Whether the wait to be explained is one that somebody broke off."""
    return analysis.turn.status in ("interrupted", "cancelled") and analysis.goal == END


def _ending(turn: Turn) -> str:
    if turn.status == "interrupted":
        return f"Interrupted{f' ({turn.interruption})' if turn.interruption else ''}: its length is no latency."
    return {"error": "Failed.", "timeout": "Timed out.", "cancelled": "Cancelled."}.get(turn.status, "")


def _shape(analysis: Analysis) -> str:
    found, turn = analysis.overlap, analysis.turn
    if not turn.stages:
        return _unknown(analysis)
    if not found.sum_ns:
        return "No stage took any time within the turn."
    if len(turn.stages) == 1:
        (stage,) = turn.stages
        length = f"One stage: {stage.stage} took {_seconds(found.sum_ns)} of the turn's {_seconds(found.wall_ns)}"
        after_ns = stage.end_ns - turn.end_ns
        return f"{length}, and ran on for {_seconds(after_ns)} after it." if after_ns > 0 else f"{length}."
    if analysis.is_sequential:
        return f"Sequential: the stages take {_seconds(found.sum_ns)} one after the other."
    return (
        f"Overlapped: {_seconds(found.sum_ns)} of work in {_seconds(found.union_ns)}, {_seconds(found.saved_ns)} saved."
    )


def _unknown(analysis: Analysis) -> str:
    waited_ns = sum(tile.length_ns for tile in analysis.path)
    if not waited_ns or _is_cut_short(analysis):
        return "No stages were recorded."
    return f"No stages were recorded, so it is not known where the {_seconds(waited_ns)} to {analysis.goal} went."


def _attack(analysis: Analysis, worst: Part) -> Iterator[str]:
    """Where the most is to be gained. What goes on beyond the end, or a timeout ended, would not end it earlier."""
    turn, goal = analysis.turn, analysis.goal
    total = sum(tile.length_ns for tile in analysis.path)
    yield (
        f"{goal[0].upper()}{goal[1:]} comes after {_seconds(total)}, "
        f"{_seconds(worst.exposed_ns)} of it {worst.name}: {_whom(analysis, worst)}."
    )
    runs_on = any(turn.stages[one].end_ns > turn.end_ns for one in worst.stages)
    if not worst.stages or (goal == END and (runs_on or turn.status == "timeout")):
        return
    gained = analysis.graph.gain(analysis.sink, worst.stages, faster=HALF)
    faster = "Half as long" if worst.owner in (SETTING, EVENT_LOOP) else "Twice as fast"
    if gained < worst.exposed_ns * SIDE_BY_SIDE:
        yield f"{faster}, it would bring {goal} hardly any earlier: other work takes as long."
    else:
        yield f"{faster}, it would bring {goal} {_seconds(gained)} earlier."


def _waits(analysis: Analysis, others: Sequence[Part]) -> Iterator[str]:
    """What else is worth knowing: time that is not a stage's work."""
    for part in others:
        if part.exposed_ns >= _MUCH_NS and part.owner in (SETTING, EVENT_LOOP, NETWORK):
            yield f"Of the wait, {_seconds(part.exposed_ns)} is {part.name}: {_whom(analysis, part)}."


def _whom(analysis: Analysis, part: Part) -> str:
    stage = analysis.turn.stages[part.stages[0]] if part.stages else None
    if part.owner == SERVICE and stage is not None:
        return _served(analysis.turn, stage)
    if part.owner == OWN_CODE and stage is None:
        return "the application's own code, or what it does not record"
    return {
        SETTING: "a setting decides how long to listen for the end of speech",
        EVENT_LOOP: "the event loop was blocked",
        NETWORK: "on the way between two services, or in a queue of the second",
        OWN_CODE: "the application's own code",
    }[part.owner]


def _served(turn: Turn, stage: Stage) -> str:
    served = " ".join(filter(None, (stage.llm.provider, stage.llm.model))) if stage.llm else ""
    if not served and stage.service != turn.service:
        served = stage.service
    return f"waiting for the service {served}" if served else "waiting for the service behind it"


def _owner(turn: Turn, stage: Stage) -> str:
    if _is_named(stage, _BLOCKED):
        return EVENT_LOOP
    if _is_named(stage, _LISTENING):
        return SETTING
    is_remote = stage.llm is not None or stage.service != turn.service or _is_named(stage, _REMOTE)
    return SERVICE if is_remote else OWN_CODE


def _is_named(stage: Stage, words: Sequence[str]) -> bool:
    name = stage.stage.lower()
    return any(word in name for word in words)


def _ready(stage: Stage) -> tuple[str, int] | None:
    known = dict(stage.milestones)
    return next(((name, known[name]) for name in _READY if name in known), None)


def _common_ns(stage: Stage, tile: Tile) -> int:
    return max(min(stage.end_ns, tile.end_ns) - max(stage.start_ns, tile.start_ns), 0)


def _plain(milestone: str) -> str:
    return milestone.replace("_", " ")


def _seconds(length_ns: int) -> str:
    """Milliseconds where hundredths of a second would say too little."""
    if 0 < length_ns < _FEW_NS:
        return f"{length_ns / 1e6:.2g} ms"
    return f"{length_ns / 1e9:.2f} s"
