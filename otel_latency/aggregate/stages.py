"""The spans of one turn as a `Turn`: clocks put right, what was told twice counted once, milestones in one form.

Told twice: a client's own GenAI span inside a call, and a wrapper (`llm`) around the request that it makes
(`llm_request`). The inner span is no stage of its own; what it alone knows goes to the outer one.

Milestones of a stage are our fields for moments, whoever measured them, and its other plain span events. Those of the
turn are what its own span says, else the earliest of its stages, from the end of the user's speech: where a span tells
when that was, or how long after it the reply was heard, else from the turn's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from otel_latency import semconv
from otel_latency.aggregate.turn import NO_ROOT, SKEWED, Sentence, Stage, Turn
from otel_latency.records import LLMProfile, SpanRow

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
_Measures = Mapping[str, float | str]
_NOTHING: Final[_Measures] = {}
NO_MARKS: Final[frozenset[str]] = frozenset()
_SPEECH: Final = ("endpoint_wait", "stt_delay")
_TEXTS: Final = ("session", "request_id", "end_reason", "fallback", "sentences")

# What ingest writes of span links and events, as JSON.
_MOMENTS: Final = msgspec.json.Decoder(dict[str, float])
_WAITS: Final = msgspec.json.Decoder(list[tuple[str, str]])
_SENTENCES: Final = msgspec.json.Decoder(list[tuple[int, float | None, float | None, float | None, float | None]])


def build(root: SpanRow | None, rows: Sequence[SpanRow], marks: Iterable[str] = (), revision: int = 0) -> Turn:
    """The turn whose own span is *root*, of all its *rows*; without one, of what there is (at least one row)."""
    if root is not None and len(rows) == 1:
        return _alone(root, marks, revision)
    clocks = _Clocks()
    drafts = _drafts(root, rows, clocks)
    stages = tuple(draft.stage() for draft in drafts)
    first = root or min(rows, key=lambda row: row[4])
    profile, said = first[0], _measures(first)
    start_ns, end_ns = _interval(root, rows, stages)
    moments = _in_order(_moments(said, start_ns)) if root and said else ()
    reached = _reached(stages, moments)
    origin_ns = start_ns if moments else _origin(said, start_ns, stages, reached)
    milestones = {name: (at - origin_ns) / 1e9 for name, at in reached.items()}
    texts = _texts(first, rows)
    heard = said.get("e2e")
    if isinstance(heard, int | float):
        milestones.setdefault("first_audio", float(heard))
    return Turn(
        trace_id=first[1],
        span_id=first[2] if root else b"",
        service=profile.service,
        turn=profile.turn if root else UNKNOWN,
        status=profile.status if root else _worst(stages),
        start_ns=start_ns,
        end_ns=end_ns,
        origin_ns=origin_ns,
        milestones=milestones,
        moments=moments,
        stages=stages,
        sentences=tuple(_sentences(rows, origin_ns)) if "sentences" in texts else (),
        session=texts.get("session", ""),
        request_id=texts.get("request_id", ""),
        interruption=texts.get("end_reason", ""),
        fallback=texts.get("fallback", ""),
        marks=_marks(marks, root, clocks) if marks or root is None or clocks.differ else NO_MARKS,
        corrections=clocks.corrections,
        revision=revision,
    )


def _alone(row: SpanRow, marks: Iterable[str], revision: int) -> Turn:
    """The turn of a single span, as most are: the same as `build` makes of it, in a fifth of the time."""
    profile, trace_id, span_id, _, start_ns, end_ns, said = row
    is_timed = bool(start_ns and end_ns)
    end_ns = max(start_ns, end_ns)
    if not is_timed:
        start_ns = end_ns
    moments = _in_order(_moments(said, start_ns)) if said else ()
    stages: tuple[Stage, ...] = ()
    if profile.stage and is_timed:
        waits = _waits(said) if said and "after" in said else ()
        stages = (
            Stage(
                span_id,
                profile.stage,
                profile.service,
                start_ns,
                end_ns,
                profile.status,
                moments,
                waits,
                -1,
                end_ns - start_ns,
                profile.llm,
            ),
        )
    milestones = {name: (at - start_ns) / 1e9 for name, at in moments}
    texts = _texts(row, ()) if said else {}
    if said and isinstance(heard := said.get("e2e"), int | float):
        milestones.setdefault("first_audio", float(heard))
    return Turn(
        trace_id,
        span_id,
        profile.service,
        profile.turn,
        profile.status,
        start_ns,
        end_ns,
        start_ns,
        milestones,
        moments,
        stages,
        tuple(_sentences((row,), start_ns)) if "sentences" in texts else (),
        texts.get("session", ""),
        texts.get("request_id", ""),
        texts.get("end_reason", ""),
        texts.get("fallback", ""),
        frozenset(marks) if marks else NO_MARKS,
        revision=revision,
    )


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


class _Draft:
    """A stage in the making."""

    __slots__ = ("end_ns", "inner", "llm", "measures", "moments", "name", "parent", "row", "start_ns", "status")

    def __init__(self, row: SpanRow, name: str, start_ns: int, end_ns: int, parent: int) -> None:
        self.row = row
        self.name = name
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.parent = parent
        self.status = row[0].status
        self.llm: LLMProfile | None = row[0].llm
        self.measures = row[6]
        self.moments: dict[str, int] | None = _moments(row[6], start_ns) if row[6] else None
        if name in SPOKEN:
            self.moments = {"first_audible": start_ns, **(self.moments or {})}
        self.inner: list[tuple[int, int]] | None = None

    def is_told_again_by(self, row: SpanRow) -> bool:
        profile = row[0]
        if profile.llm is not None:
            return self.llm is not None or self.name == "llm"
        if self.llm is not None and (profile.stage.partition(" ")[0] in _CALLS or profile.stage == f"{self.name}_run"):
            return True
        return profile.stage.startswith(f"{self.name}_request")

    def absorb(self, row: SpanRow, start_ns: int) -> None:
        """Take over what the inner span alone knows."""
        self.llm = self.llm or row[0].llm
        if row[6]:
            self.moments = {**_moments(row[6], start_ns), **(self.moments or {})}

    def stage(self) -> Stage:
        measures = self.measures
        busy = self.end_ns - self.start_ns
        if self.inner:
            busy -= _covered(self.inner, self.start_ns, self.end_ns)
        return Stage(
            self.row[2],
            self.name,
            self.row[0].service,
            self.start_ns,
            self.end_ns,
            self.status,
            _in_order(self.moments) if self.moments else (),
            _waits(measures) if measures and "after" in measures else (),
            self.parent,
            busy,
            self.llm,
            _speech_end(measures, self.end_ns) if measures else 0,
        )


def _drafts(root: SpanRow | None, rows: Sequence[SpanRow], clocks: _Clocks) -> list[_Draft]:
    """A draft for each stage, every outer one before what is in it."""
    drafts: list[_Draft] = []
    children, tops = _family(rows)
    # (row, index of the stage around it, its parent's service and interval, by how much its clock was moved)
    stack: list[tuple[SpanRow, int, tuple[str, int, int] | None, int]] = [(row, -1, None, 0) for row in tops]
    while stack:
        row, outer, around, shift = stack.pop()
        profile, _, span_id, _, start_ns, end_ns, _ = row
        start_ns += shift
        end_ns = max(end_ns + shift, start_ns)
        if around is not None and around[0] != profile.service:
            moved = clocks.shift(profile.service, start_ns, end_ns, around)
            start_ns, end_ns, shift = start_ns + moved, end_ns + moved, shift + moved
        name = profile.stage or ("" if row is root else profile.turn)
        if name and row[4] and row[5]:
            if outer >= 0 and drafts[outer].is_told_again_by(row):
                drafts[outer].absorb(row, start_ns)
            else:
                if outer >= 0:
                    _add_inner(drafts[outer], start_ns, end_ns)
                drafts.append(_Draft(row, name, start_ns, end_ns, outer))
                outer = len(drafts) - 1
        below = children.get(span_id)
        if below:
            here = profile.service, start_ns, end_ns
            stack += [(child, outer, here, shift) for child in below]
    return drafts


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


def _add_inner(outer: _Draft, start_ns: int, end_ns: int) -> None:
    if outer.inner is None:
        outer.inner = []
    outer.inner.append((start_ns, end_ns))


def _covered(intervals: list[tuple[int, int]], start_ns: int, end_ns: int) -> int:
    """How much of the time from *start_ns* to *end_ns* they cover together."""
    covered, until = 0, start_ns
    for begin, end in sorted(intervals):
        last = min(end, end_ns)
        covered += max(last - max(begin, until), 0)
        until = max(until, last)
    return covered


def _measures(row: SpanRow) -> _Measures:
    return row[6] or _NOTHING


def _moments(measures: _Measures, start_ns: int) -> dict[str, int]:
    """The milestones that a span tells of; where two of its fields tell of one, the first stands."""
    known: dict[str, int] = {}
    for field in measures:
        if field in MILESTONES and not isinstance(value := measures[field], str):
            known.setdefault(MILESTONES[field], start_ns + round(value * 1e9))
    told = measures.get("moments")
    if isinstance(told, str):
        for name, seconds in _MOMENTS.decode(told).items():
            known.setdefault(name, start_ns + round(seconds * 1e9))
    return known


def _waits(measures: _Measures) -> tuple[tuple[bytes, str], ...]:
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


def _speech_end(measures: _Measures, end_ns: int) -> int:
    """When the user stopped speaking, from a span that ends when that was noticed or transcribed; 0: it tells not."""
    for field in _SPEECH:
        if field in measures and not isinstance(value := measures[field], str):
            return end_ns - round(value * 1e9)
    return 0


def _in_order(moments: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(moments.items(), key=_at)) if len(moments) > 1 else tuple(moments.items())


def _at(moment: tuple[str, int]) -> int:
    return moment[1]


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
        for name, at in stage.milestones:
            if name in semconv.MILESTONES and at < reached.get(name, at + 1):
                reached[name] = at
    reached.update(moments)
    return reached


def _origin(said: _Measures, start_ns: int, stages: Sequence[Stage], reached: Mapping[str, int]) -> int:
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
        if said:
            for field in _TEXTS:
                if field in said and field not in texts:
                    texts[field] = str(said[field])
    return texts
