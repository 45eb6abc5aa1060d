"""Sessions made of the turns that carry their id: how many run, how they went, what they cost, and how each turn of
one compares.

A session begins with its first turn and is over when none came for `idle` seconds. Its outcome is `error` if its last
turn failed or timed out, else `completed`: a user who got an answer in the end was served. Turns that were cancelled or
interrupted say nothing about it.

Memory: `max_sessions` sessions, and of each its first call of a model and the last `MAX_TURNS` turns; above that the
one that was quiet longest is over early. Cost: about 5 us a turn; a row as JSON up to 0.3 ms.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from otel_latency.aggregate.turn import Turn
from otel_latency.records import Family, Labels, ValueSeries
from otel_latency.significance.course import Course, course

MAX_TURNS: Final = 200
MAX_OUTCOMES: Final = 1_000
"""Pairs of service and outcome that are counted; a sender who invents services gets no more."""
SESSIONS: Final = "otel_latency_sessions_total"
_FAILED: Final = ("error", "timeout")


class TurnOfSession(NamedTuple):
    """What a session takes from a turn; the history keeps the same of each.

    The calls of models are taken together, and the prompt is that of the first; what none of them told is None, and of
    tokens 0. `llm_seconds` is None where none was called.
    """

    trace_id: bytes
    span_id: bytes
    start_ns: int
    end_ns: int
    status: str
    llm_calls: int = 0
    llm_seconds: float | None = None
    prompt_tokens: float | None = None
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_usd: float | None = None
    first_token: float | None = None
    first_audio: float | None = None

    @classmethod
    def of(cls, turn: Turn) -> TurnOfSession:
        calls = [stage for stage in turn.stages if stage.llm is not None]
        usages = [stage.usage() for stage in calls]
        prompts = [
            (stage.start_ns, usage.input_tokens)
            for stage, usage in zip(calls, usages, strict=True)
            if usage.input_tokens is not None
        ]
        costs = [usage.cost_usd for usage in usages if usage.cost_usd is not None]
        return cls(
            turn.trace_id,
            turn.span_id,
            turn.start_ns,
            turn.end_ns,
            turn.status,
            llm_calls=len(calls),
            llm_seconds=sum(stage.busy_ns for stage in calls) / 1e9 if calls else None,
            prompt_tokens=min(prompts)[1] if prompts else None,
            input_tokens=sum(tokens for _, tokens in prompts),
            output_tokens=sum(usage.output_tokens or 0.0 for usage in usages),
            cost_usd=sum(costs) if costs else None,
            first_token=turn.milestones.get("first_token"),
            first_audio=turn.milestones.get("first_audio"),
        )


class Mean:
    """Of the values that are known."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.count += 1
            self.sum += value

    @property
    def value(self) -> float | None:
        return self.sum / self.count if self.count else None


@dataclass(slots=True)
class Session:
    """One conversation, as far as it has come; it begins with the times of its first turn, which is then added."""

    session: str
    service: str
    start_ns: int
    end_ns: int
    seen: float = 0.0
    turns: int = 0
    failed: int = 0
    duration: Mean = field(default_factory=Mean)
    first_token: Mean = field(default_factory=Mean)
    first_audio: Mean = field(default_factory=Mean)
    llm_calls: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_usd: float | None = None
    """Of the calls whose cost is known; None while there is none."""
    is_failing: bool = False
    first: TurnOfSession | None = None
    """The earliest of its turns that called a model."""
    latest: deque[TurnOfSession] = field(default_factory=lambda: deque(maxlen=MAX_TURNS))

    @property
    def outcome(self) -> str:
        return "error" if self.is_failing else "completed"

    def add(self, turn: TurnOfSession) -> None:
        self.start_ns = min(self.start_ns, turn.start_ns)
        is_last = turn.end_ns >= self.end_ns
        self.end_ns = max(self.end_ns, turn.end_ns)
        self.turns += 1
        self.failed += turn.status in _FAILED
        if is_last and turn.status in ("ok", *_FAILED):
            self.is_failing = turn.status != "ok"
        self.duration.add((turn.end_ns - turn.start_ns) / 1e9)
        self.first_token.add(turn.first_token)
        self.first_audio.add(turn.first_audio)
        self._add_calls(turn)

    def course(self) -> Course:
        """How its calls of models went, in the order of the turns."""
        known = {(one.start_ns, one.span_id, one.trace_id): one for one in (self.first, *self.latest) if one}
        return course([(known[key].prompt_tokens, known[key].llm_seconds) for key in sorted(known)])

    def _add_calls(self, turn: TurnOfSession) -> None:
        self.llm_calls += turn.llm_calls
        self.input_tokens += turn.input_tokens
        self.output_tokens += turn.output_tokens
        if turn.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + turn.cost_usd
        self.latest.append(turn)
        if turn.llm_seconds is not None and (self.first is None or turn.start_ns < self.first.start_ns):
            self.first = turn


class Sessions:
    """Takes turns that are final, each once; answers what runs now. *now* is a monotonic clock's, in seconds."""

    def __init__(self, *, idle: float = 300.0, max_sessions: int = 5_000) -> None:
        self._idle = idle
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[tuple[str, str], Session] = OrderedDict()  # quiet longest first
        self._outcomes: Counter[tuple[str, str]] = Counter()

    def restore(self, counters: Mapping[tuple[str, Labels], float]) -> None:
        """Let the counter go on from a former run, given by name and labels in the order of their names."""
        for (name, labels), count in counters.items():
            if name == SESSIONS:
                named = dict(labels)
                self._outcomes[named["service"], named["outcome"]] += int(count)

    def add(self, turn: Turn, now: float) -> None:
        """A turn without a session is none's."""
        if not turn.session:
            return
        key = turn.service, turn.session
        session = self._sessions.get(key)
        if session is None:
            session = Session(turn.session, turn.service, turn.start_ns, turn.end_ns)
            self._sessions[key] = session
        session.seen = now
        session.add(TurnOfSession.of(turn))
        self._sessions.move_to_end(key)
        if len(self._sessions) > self._max_sessions:
            self._end(next(iter(self._sessions)))

    def expire(self, now: float) -> None:
        """End the sessions that were quiet for too long."""
        while self._sessions:
            key, session = next(iter(self._sessions.items()))
            if session.seen + self._idle > now:
                return
            self._end(key)

    def active(self) -> Iterator[Session]:
        """Sessions that are not over, the latest first."""
        return reversed(self._sessions.values())

    def families(self, now: float) -> list[Family]:
        """How many are active, and how those before them ended."""
        self.expire(now)
        running = Counter(service for service, _ in self._sessions)
        known = {service: 0 for service, _ in self._outcomes} | running
        return [
            Family(
                "otel_latency_sessions_active",
                "gauge",
                "Sessions with a turn in the last minutes.",
                [ValueSeries(_labels(service=service), count) for service, count in sorted(known.items())],
            ),
            Family(
                SESSIONS,
                "counter",
                "Sessions that are over, by how they ended.",
                [
                    ValueSeries(_labels(service=service, outcome=outcome), count)
                    for (service, outcome), count in sorted(self._outcomes.items())
                ],
            ),
        ]

    def _end(self, key: tuple[str, str]) -> None:
        session = self._sessions.pop(key)
        counted = session.service, session.outcome
        if counted in self._outcomes or len(self._outcomes) < MAX_OUTCOMES:
            self._outcomes[counted] += 1


def session_json(session: Session) -> dict[str, object]:
    """A row of `/api/v1/sessions`, of a session that has a turn."""
    course = session.course()
    line = course.prompts
    return {
        "session": session.session,
        "service": session.service,
        "start": session.start_ns / 1e9,
        "end": session.end_ns / 1e9,
        "duration_seconds": (session.end_ns - session.start_ns) / 1e9,
        "turns": session.turns,
        "failed_turns": session.failed,
        "mean_turn_seconds": session.duration.value,
        "error_ratio": session.failed / session.turns,
        "status": session.outcome,
        "mean_first_token_seconds": session.first_token.value,
        "mean_first_audio_seconds": session.first_audio.value,
        "llm_calls": session.llm_calls,
        "input_tokens": session.input_tokens,
        "output_tokens": session.output_tokens,
        "cost_usd": session.cost_usd,
        "first_llm_seconds": course.first_llm,
        "later_llm_seconds": course.later_llm,
        "kv_cache_speedup": course.speedup,
        "prompt_correlation": None if line is None else line.correlation,
        "slope_ms_per_token": None if line is None else line.slope * 1000,
        "trend": course.trend,
        "trend_ms_per_request": None if course.per_request is None else course.per_request * 1000,
    }


def _labels(**labels: str) -> Labels:
    return tuple(labels.items())
