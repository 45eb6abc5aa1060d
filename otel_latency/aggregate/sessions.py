"""Sessions made of the turns that carry their id: how many run, how they went, and how each turn of one compares.

A session begins with its first turn and is over when none came for `idle` seconds. Its outcome is `error` if its last
turn failed or timed out, else `completed`: a user who got an answer in the end was served. Turns that were cancelled or
interrupted say nothing about it.

Memory: `max_sessions` sessions, and of each the last `MAX_TURNS` turns; above that the one that was quiet longest is
over early. Cost: about 3 us a turn.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from otel_latency.aggregate.turn import Turn
from otel_latency.records import Family, Labels, ValueSeries

MAX_TURNS: Final = 200
MAX_OUTCOMES: Final = 1_000
"""Pairs of service and outcome that are counted; a sender who invents services gets no more."""
_FAILED: Final = ("error", "timeout")


class TurnOfSession(NamedTuple):
    """What a session remembers of a turn; *llm_seconds* is None where it called no model."""

    trace_id: bytes
    span_id: bytes
    start_ns: int
    end_ns: int
    status: str
    llm_seconds: float | None
    first_audio: float | None


@dataclass(slots=True)
class Session:
    """One conversation, as far as it has come."""

    session: str
    service: str
    seen: float
    start_ns: int
    end_ns: int
    turns: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    is_failing: bool = False
    latest: deque[TurnOfSession] = field(default_factory=lambda: deque(maxlen=MAX_TURNS))

    @property
    def outcome(self) -> str:
        return "error" if self.is_failing else "completed"

    def add(self, turn: Turn, now: float) -> None:
        self.seen = now
        self.start_ns = min(self.start_ns, turn.start_ns)
        self.turns += 1
        self.busy_seconds += turn.duration
        is_last = turn.end_ns >= self.end_ns
        self.end_ns = max(self.end_ns, turn.end_ns)
        self.failed += turn.status in _FAILED
        if is_last and turn.status in ("ok", *_FAILED):
            self.is_failing = turn.status != "ok"
        calls = [stage.busy_ns for stage in turn.stages if stage.llm is not None]
        self.latest.append(
            TurnOfSession(
                turn.trace_id,
                turn.span_id,
                turn.start_ns,
                turn.end_ns,
                turn.status,
                sum(calls) / 1e9 if calls else None,
                turn.milestones.get("first_audio"),
            )
        )


class Sessions:
    """Takes turns that are final, each once; answers what runs now. *now* is a monotonic clock's, in seconds."""

    def __init__(self, *, idle: float = 300.0, max_sessions: int = 5_000) -> None:
        self._idle = idle
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[tuple[str, str], Session] = OrderedDict()  # quiet longest first
        self._outcomes: Counter[tuple[str, str]] = Counter()

    def add(self, turn: Turn, now: float) -> None:
        """A turn without a session is none's."""
        if not turn.session:
            return
        key = turn.service, turn.session
        session = self._sessions.get(key)
        if session is None:
            session = Session(turn.session, turn.service, now, turn.start_ns, turn.end_ns)
            self._sessions[key] = session
        session.add(turn, now)
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
                "otel_latency_sessions_total",
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
    """A row of `/api/v1/sessions`."""
    times = [one.llm_seconds for one in session.latest if one.llm_seconds is not None]
    later = times[1:]
    return {
        "session": session.session,
        "service": session.service,
        "start": session.start_ns / 1e9,
        "end": session.end_ns / 1e9,
        "duration_seconds": (session.end_ns - session.start_ns) / 1e9,
        "turns": session.turns,
        "mean_turn_seconds": session.busy_seconds / session.turns if session.turns else None,
        "error_ratio": session.failed / session.turns if session.turns else 0.0,
        "status": session.outcome,
        "first_llm_seconds": times[0] if times and session.turns <= MAX_TURNS else None,
        "later_llm_seconds": sum(later) / len(later) if later else None,
    }


def _labels(**labels: str) -> Labels:
    return tuple(labels.items())
