"""The spans of one turn as a `Turn`: clocks put right, what was told twice counted once, milestones in one form.

Told twice: a client's own GenAI span inside a call, and a wrapper (`llm`) around the request that it makes
(`llm_request`). The inner span is no stage of its own; what it alone knows goes to the outer one.

Milestones of a stage are our fields for moments, whoever measured them, and its other plain span events. Those of the
turn are what its own span says, else the earliest of its stages, from the end of the user's speech: where a span tells
when that was, or how long after it the reply was heard, else from the turn's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Final

import msgspec

from otel_latency import semconv
from otel_latency.aggregate.turn import NO_CORRECTIONS, NO_ROOT, NOTHING, SKEWED, Measures, Sentence, Stage, Turn
from otel_latency.records import SpanRow

MILESTONES: Final[Mapping[str, str]] = {
    "ttfc": "first_chunk",
    "ttft": "first_token",
    "ttfat": "first_answer_token",
    "ttfs": "first_sentence",
    "tts_start": "tts_start",
    "ttfa": "first_audio",
    "tts_ttfb": "first_audio",
    "first_audible": "first_audible",
}
"""Fields of a row, in seconds from its start, and the milestones they tell of."""
SPOKEN: Final = frozenset({"agent_speaking"})
"""Stages that are what the user hears: they begin with the first audible moment. LiveKit's."""
MAX_SKEW_NS: Final = 3_600_000_000_000
"""Clocks that differ by more are not put right."""
MAX_LEAD_NS: Final = 60_000_000_000
"""The end of the user's speech lies at most this long before the start of the turn."""
UNKNOWN: Final = "unknown"

_CALLS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings", "responses"})
_WORST: Final = ("error", "timeout", "cancelled", "interrupted")
_NO_TEXTS: Final[Mapping[str, str]] = {}
NO_MARKS: Final[frozenset[str]] = frozenset()
_SPEECH: Final = ("endpoint_wait", "stt_delay")
_FROM_SPEECH: Final = frozenset({*_SPEECH, "e2e"})
"""Fields that tell when the user stopped speaking."""
_TEXTS: Final = frozenset({"session", "request_id", "end_reason", "fallback", "sentences"})
_UNNAMED: Final = "", "", "", ""

_turn: Final = partial(tuple.__new__, Turn)
_made: Final = partial(tuple.__new__, Stage)
"""A `Turn` and a `Stage` of a tuple, in half the time that their constructors take."""

# What ingest writes of span links and events, as JSON.
_MOMENTS: Final = msgspec.json.Decoder(dict[str, float])
_WAITS: Final = msgspec.json.Decoder(list[tuple[str, str]])
_SENTENCES: Final = msgspec.json.Decoder(list[tuple[int, float | None, float | None, float | None, float | None]])


def build(root: SpanRow | None, rows: Sequence[SpanRow], marks: Iterable[str] = (), revision: int = 0) -> Turn:
    """The turn whose own span is *root*, of all its *rows*; without one, of what there is (at least one row)."""
    if len(rows) == 1 and rows[0][0].stage not in SPOKEN and _FROM_SPEECH.isdisjoint(rows[0][6] or ()):
        return _alone(rows[0], marks, revision, is_root=root is not None)
    clocks = _Clocks()
    stages = tuple(_stages(root, rows, clocks))
    first = root or min(rows, key=lambda row: row[4])
    profile, trace_id, span_id, _, _, _, said = first
    start_ns, end_ns = _interval(root, rows, stages)
    moments = _moments(said, start_ns) if root and said else ()
    reached = _reached(stages, moments)
    origin_ns = start_ns if moments else _origin(said or NOTHING, start_ns, stages, reached)
    texts = _texts(first, rows)
    return _turn(
        (
            trace_id,
            span_id if root else b"",
            profile.service,
            profile.turn if root else UNKNOWN,
            profile.status if root else _worst(stages),
            start_ns,
            end_ns,
            origin_ns,
            _milestones(reached.items(), origin_ns, said),
            moments,
            stages,
            tuple(_sentences(rows, origin_ns)) if "sentences" in texts else (),
            *_named(texts),
            _marks(marks, root, clocks) if marks or root is None or clocks.differ else NO_MARKS,
            clocks.corrections,
            revision,
        )
    )


def _alone(row: SpanRow, marks: Iterable[str], revision: int, *, is_root: bool) -> Turn:
    """The turn of a single span, as most are: the same as `build` makes of others, in a third of the time."""
    profile, trace_id, span_id, _, start_ns, end_ns, said = row
    stages: tuple[Stage, ...] = ()
    if not (start_ns and end_ns):
        start_ns = end_ns = max(start_ns, end_ns)
    else:
        end_ns = max(start_ns, end_ns)
        if profile.stage:
            stages = (_stage(row, profile.stage, start_ns, end_ns, -1),)
    reached: tuple[tuple[str, int], ...] = ()
    texts = _NO_TEXTS
    if said:
        reached = stages[0].milestones if stages else _moments(said, start_ns)
        texts = _texts(row, ())
    if not is_root:
        reached = tuple(moment for moment in reached if moment[0] in semconv.MILESTONES)
        marks = NO_ROOT, *marks
    return _turn(
        (
            trace_id,
            span_id if is_root else b"",
            profile.service,
            profile.turn if is_root else UNKNOWN,
            profile.status,
            start_ns,
            end_ns,
            start_ns,
            {name: (at - start_ns) / 1e9 for name, at in reached},
            reached if is_root else (),
            stages,
            tuple(_sentences((row,), start_ns)) if "sentences" in texts else (),
            *_named(texts),
            frozenset(marks) if marks else NO_MARKS,
            NO_CORRECTIONS,
            revision,
        )
    )


def _milestones(reached: Iterable[tuple[str, int]], origin_ns: int, said: Measures | None) -> dict[str, float]:
    """In seconds from the origin; how long after it the reply was heard may be all that is known of that."""
    milestones = {name: (at - origin_ns) / 1e9 for name, at in reached}
    if said and "e2e" in said and isinstance(heard := said["e2e"], int | float):
        milestones.setdefault("first_audio", float(heard))
    return milestones


def _marks(marks: Iterable[str], root: SpanRow | None, clocks: _Clocks) -> frozenset[str]:
    return frozenset([*marks, *([] if root else [NO_ROOT]), *([SKEWED] if clocks.differ else [])])


def hears(row: SpanRow) -> bool:
    """Whether the span tells when the user stopped speaking."""
    said = row[6]
    return said is not None and any(field in said for field in _SPEECH)


class _Clocks:
    """By how much each service's clock was put forward, and whether any of them differ at all."""

    def __init__(self) -> None:
        self.corrections: dict[str, int] = {}
        self.differ = False

    def shift(self, service: str, start_ns: int, end_ns: int, around: tuple[str, int, int]) -> int:
        """Nanoseconds by which to move a span that was called from within *around* (another service, start, end)."""
        end_ns = max(start_ns, end_ns)
        early, late = around[1] - start_ns, end_ns - around[2]
        if early <= 0:
            self.differ |= late > 0
            return 0
        self.differ = True
        if early > MAX_SKEW_NS:
            return 0
        moved = early + max((around[2] - around[1]) - (end_ns - start_ns), 0) // 2
        self.corrections[service] = self.corrections.get(service, 0) + moved
        return moved


def _stages(root: SpanRow | None, rows: Sequence[SpanRow], clocks: _Clocks) -> list[Stage]:
    """Every stage, the outer ones before what is in them."""
    stages: list[Stage] = []
    inside: dict[int, list[tuple[int, int]]] = {}  # when the inner stages of each ran
    children, tops = _family(rows)
    # (siblings, index of the stage around them, their parent's service and interval, by how much its clock was moved)
    families: list[tuple[list[SpanRow], int, tuple[str, int, int] | None, int]] = [(tops, -1, None, 0)]
    for siblings, around, caller, moved in families:
        for row in siblings:
            profile, _, span_id, _, start_ns, end_ns, _ = row
            name = profile.stage or ("" if row is root else profile.turn)
            is_stage = name and start_ns and end_ns
            outer, shift = around, moved
            if caller is not None and caller[0] != profile.service:
                shift += clocks.shift(profile.service, start_ns + shift, end_ns + shift, caller)
            start_ns += shift
            end_ns = max(end_ns + shift, start_ns)
            if is_stage:
                if outer >= 0 and _is_told_again(stages[outer], row):
                    stages[outer] = _completed(stages[outer], row, start_ns)
                else:
                    if outer >= 0:
                        inside.setdefault(outer, []).append((start_ns, end_ns))
                    outer = len(stages)
                    stages.append(_stage(row, name, start_ns, end_ns, around))
            if span_id in children:
                families.append((children[span_id], outer, (profile.service, start_ns, end_ns), shift))
    for index, intervals in inside.items():
        stage = stages[index]
        covered = _covered(intervals, stage.start_ns, stage.end_ns)
        stages[index] = stage._replace(busy_ns=stage.busy_ns - covered)
    return stages


def _stage(row: SpanRow, name: str, start_ns: int, end_ns: int, outer: int) -> Stage:
    profile, _, span_id, _, _, _, measures = row
    said = measures or NOTHING
    milestones: tuple[tuple[str, int], ...] = ()
    if said:
        milestones = _moments(said, start_ns)
    if name in SPOKEN:
        milestones = _in_order({"first_audible": start_ns, **dict(milestones)})
    return _made(
        (
            span_id,
            name,
            profile.service,
            start_ns,
            end_ns,
            profile.status,
            milestones,
            _waits(said) if "after" in said else (),
            outer,
            end_ns - start_ns,
            profile.llm,
            _speech_end(said, end_ns) if said else 0,
            said,
        )
    )


def _is_told_again(outer: Stage, row: SpanRow) -> bool:
    """Whether the span inside a stage tells of the same work."""
    profile = row[0]
    if profile.llm is not None:
        return outer.llm is not None or outer.stage == "llm"
    if outer.llm is not None and (profile.stage.partition(" ")[0] in _CALLS or profile.stage == f"{outer.stage}_run"):
        return True
    return profile.stage.startswith(f"{outer.stage}_request")


def _completed(outer: Stage, row: SpanRow, start_ns: int) -> Stage:
    """The stage with what the span inside it alone knows."""
    said = row[6]
    if not said:
        return outer if outer.llm else outer._replace(llm=row[0].llm)
    moments = dict((*_moments(said, start_ns), *outer.milestones))
    measures = {**said, **outer.measures}
    return outer._replace(llm=outer.llm or row[0].llm, milestones=_in_order(moments), measures=measures)


def _family(rows: Sequence[SpanRow]) -> tuple[dict[bytes, list[SpanRow]], list[SpanRow]]:
    """The children of each span, and the spans whose parents are not among *rows*."""
    if len(rows) == 1:
        return {}, list(rows)
    ids = {row[2] for row in rows}
    children: dict[bytes, list[SpanRow]] = {}
    tops = []
    for row in rows:
        if row[3] in ids:
            children.setdefault(row[3], []).append(row)
        else:
            tops.append(row)
    return children, tops


def _covered(intervals: list[tuple[int, int]], start_ns: int, end_ns: int) -> int:
    """How much of the time from *start_ns* to *end_ns* they cover together."""
    covered, until = 0, start_ns
    for begin, end in sorted(intervals):
        last = min(end, end_ns)
        covered += max(last - max(begin, until), 0)
        until = max(until, last)
    return covered


def _moments(measures: Measures, start_ns: int) -> tuple[tuple[str, int], ...]:
    """The milestones that a span tells of, in order; where two of its fields tell of one, the first stands."""
    known: dict[str, int] = {}
    latest, is_sorted = 0, True
    for field, value in measures.items():
        name = MILESTONES.get(field)
        if name is not None and name not in known and not isinstance(value, str):
            known[name] = at = start_ns + round(value * 1e9)
            is_sorted &= at >= latest
            latest = at
    told = measures.get("moments")
    if isinstance(told, str):
        for name, seconds in _MOMENTS.decode(told).items():
            known.setdefault(name, start_ns + round(seconds * 1e9))
        is_sorted = False
    return tuple(known.items()) if is_sorted else _in_order(known)


def _waits(measures: Measures) -> tuple[tuple[bytes, str], ...]:
    told = measures.get("after")
    return tuple((bytes.fromhex(one), name) for one, name in _WAITS.decode(told)) if isinstance(told, str) else ()


def _sentences(rows: Sequence[SpanRow], origin_ns: int) -> Iterator[Sentence]:
    """Every sentence that a span tells of, counted from the origin instead of the span's start."""
    for row in rows:
        told = row[6] and row[6].get("sentences")
        if isinstance(told, str):
            since = (row[4] - origin_ns) / 1e9
            for number, *reached in _SENTENCES.decode(told):
                yield Sentence(number, *(None if seconds is None else seconds + since for seconds in reached))


def _speech_end(measures: Measures, end_ns: int) -> int:
    """When the user stopped speaking, from a span that ends when that was noticed or transcribed; 0: it tells not."""
    for field in _SPEECH:
        if field in measures and not isinstance(value := measures[field], str):
            return end_ns - round(value * 1e9)
    return 0


def _in_order(moments: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(moments.items(), key=itemgetter(1)))


def _interval(root: SpanRow | None, rows: Sequence[SpanRow], stages: Sequence[Stage]) -> tuple[int, int]:
    if root and root[4] and root[5]:
        return root[4], max(root[5], root[4])
    if stages:
        return min(one.start_ns for one in stages), max(one.end_ns for one in stages)
    moment = max(max(row[4:6]) for row in rows)
    return moment, moment


def _reached(stages: Sequence[Stage], moments: Sequence[tuple[str, int]]) -> dict[str, int]:
    """When the turn reached what: by its own span, else by the first of its stages."""
    reached: dict[str, int] = {}
    for stage in stages:
        for name, at in stage[6]:
            if name in semconv.MILESTONES and (name not in reached or at < reached[name]):
                reached[name] = at
    reached.update(moments)
    return reached


def _origin(said: Measures, start_ns: int, stages: Sequence[Stage], reached: Mapping[str, int]) -> int:
    """The end of the user's speech as other tools tell it, if it can be true; else *start_ns*."""
    heard, audio = said.get("e2e"), reached.get("first_audible", reached.get("first_audio"))
    if isinstance(heard, int | float) and audio is not None:
        return audio - round(heard * 1e9)
    first = min(reached.values(), default=start_ns)
    ends = [stage.speech_end_ns for stage in stages if start_ns - MAX_LEAD_NS < stage.speech_end_ns <= first]
    return max(ends, default=start_ns)


def _worst(stages: Sequence[Stage]) -> str:
    found = {stage.status for stage in stages}
    return next((status for status in _WORST if status in found), "ok")


def _texts(first: SpanRow, rows: Sequence[SpanRow]) -> dict[str, str]:
    """What the turn's own span says, else the first other that says it."""
    texts: dict[str, str] = {}
    for row in (first, *rows):
        said = row[6]
        if said and not _TEXTS.isdisjoint(said):
            for field in _TEXTS:
                if field in said and field not in texts:
                    texts[field] = str(said[field])
    return texts


def _named(texts: Mapping[str, str]) -> tuple[str, str, str, str]:
    """A turn's session, request id, interruption and fallback."""
    if not texts:
        return _UNNAMED
    known = texts.get
    return known("session", ""), known("request_id", ""), known("end_reason", ""), known("fallback", "")
