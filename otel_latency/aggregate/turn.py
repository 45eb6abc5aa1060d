"""A turn as a whole, put together from the spans of its trace: what path, overlap, verdict and history look at.

Times are Unix nanoseconds, integers throughout, so that whatever is made of them adds up exactly. Clocks of services
that disagreed have been corrected (`marks` says so); a time that a span did not carry was left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from otel_latency.records import LLMProfile

NO_ROOT: Final = "no_root"
"""The span of the turn itself never came: start, end and status are those of what came."""
SKEWED: Final = "skewed"
"""Clocks of its services disagreed. Where that was certain, the times were moved (see `corrections`)."""
TRUNCATED: Final = "truncated"
"""Spans are missing, for want of memory."""
LATE: Final = "late"
"""Spans came after the turn had first been shown."""

Measures = Mapping[str, float | str]
"""What a row holds beside its times: field names to seconds, counts or text."""
NOTHING: Final[Measures] = MappingProxyType({})
NO_CORRECTIONS: Final[Mapping[str, int]] = MappingProxyType({})


class Usage(NamedTuple):
    """What a call of a model took, as far as it is known."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None


class Stage(NamedTuple):
    """One step; a tuple because every span of every turn becomes one.

    `milestones` are in order of time. `waits` are (span id of a producer, milestone there) pairs that the step declared
    to have waited for. `parent` is the index, lower than its own, of the stage around it, or -1. `busy_ns` leaves out
    the time that its inner stages took. `measures` are the row's own, so a cost that is known later is in them.
    """

    span_id: bytes
    stage: str
    service: str
    start_ns: int
    end_ns: int
    status: str = "ok"
    milestones: tuple[tuple[str, int], ...] = ()
    waits: tuple[tuple[bytes, str], ...] = ()
    parent: int = -1
    busy_ns: int = 0
    llm: LLMProfile | None = None
    speech_end_ns: int = 0
    measures: Measures = NOTHING

    def usage(self) -> Usage:
        """Meant for calls of models: other spans repeat what the calls below them took."""
        told = self.measures.get
        taken, given, cost = told("input_tokens"), told("output_tokens"), told("cost_usd")
        return Usage(
            None if isinstance(taken, str) else taken,
            None if isinstance(given, str) else given,
            None if isinstance(cost, str) else cost,
        )


class Sentence(NamedTuple):
    """The way of one sentence to the ear, in seconds from the turn's `origin_ns`; None where it did not get so far."""

    number: int
    arrived: float | None = None
    tts_started: float | None = None
    audio_ready: float | None = None
    played: float | None = None


class Turn(NamedTuple):
    """One request of a user.

    `origin_ns` is the end of the user's speech where a span tells it, else the start: every milestone counts from
    there, in seconds. `moments` are those that the turn's own span told, in Unix nanoseconds. `corrections` says by
    how many nanoseconds the clock of a service was put forward, `revision` how often the turn has been put together
    anew, as late spans came.
    """

    trace_id: bytes
    span_id: bytes
    service: str
    turn: str
    status: str
    start_ns: int
    end_ns: int
    origin_ns: int
    milestones: Mapping[str, float]
    moments: tuple[tuple[str, int], ...]
    stages: tuple[Stage, ...]
    sentences: tuple[Sentence, ...] = ()
    session: str = ""
    request_id: str = ""
    interruption: str = ""
    fallback: str = ""
    marks: frozenset[str] = frozenset()
    corrections: Mapping[str, int] = NO_CORRECTIONS
    revision: int = 0

    @property
    def duration(self) -> float:
        """Seconds from the turn's start to its end."""
        return (self.end_ns - self.start_ns) / 1e9
