"""Requests by session, each with the course that it took (see `significance.course`).

Requests without a session are grouped by silence. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from otel_latency.insight.requests import Request
from otel_latency.significance import course
from otel_latency.significance.course import Call, Course
from otel_latency.significance.statistics import Line

SILENCE: Final = 300.0
"""Seconds without a request after which the next one begins another session, where none is named."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session, with its requests in the order of time."""

    session: str
    requests: tuple[Request, ...]
    course: Course


def conversations(requests: Iterable[Request], *, silence: float = SILENCE) -> list[Conversation]:
    """Each session, in the order of their first requests."""
    sessions: dict[str, list[Request]] = {}
    latest: tuple[str, float] = "", float("-inf")
    for request in sorted(requests, key=_start):
        name = request.session
        if not name:
            name, before = latest
            if request.start - before > silence:
                name = f"from {datetime.fromtimestamp(request.start, UTC):%Y-%m-%d %H:%M:%S}"
            latest = name, request.start + request.total
        sessions.setdefault(name, []).append(request)
    return [Conversation(name, tuple(found), course.course(_calls(found))) for name, found in sessions.items()]


def prompt_line(requests: Iterable[Request]) -> Line | None:
    """LLM seconds by prompt tokens, of the requests that know both."""
    return course.prompt_line(_calls(requests))


def _calls(requests: Iterable[Request]) -> Sequence[Call]:
    return [(request.prompt_tokens, request.llm_seconds) for request in requests]


def _start(request: Request) -> float:
    return request.start
