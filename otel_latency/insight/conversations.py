"""Requests by session: does a longer prompt take longer, does the model remember, does a long conversation get slower.

A model server keeps the keys and values of a prompt it has read (KV cache), so the first request of a session reads all
of its prompt and the later ones only what is new: the speed-up is the first LLM time over the median of the later ones.
The trend is that of the later ones alone.

Requests without a session are grouped by silence. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

from otel_latency.insight.requests import Request
from otel_latency.significance.statistics import Line, fit, kendall

SILENCE: Final = 300.0
"""Seconds without a request after which the next one begins another session, where none is named."""
MIN_FOR_TREND: Final = 8
"""Requests after the first; with fewer of them a trend is nobody's to tell."""
TREND_P: Final = 0.05

SLOWER: Final = "slower"
FASTER: Final = "faster"
STEADY: Final = "steady"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session; times are seconds, None where its requests do not tell. `prompts` relates tokens to LLM seconds."""

    session: str
    requests: tuple[Request, ...]
    first_llm: float | None
    later_llm: float | None
    prompts: Line | None
    trend: str
    per_request: float | None
    """Seconds by which each LLM call takes longer than the one before, in the later requests."""

    @property
    def speedup(self) -> float | None:
        """How many times faster later requests are than the first."""
        if self.first_llm is None or not self.later_llm:
            return None
        return self.first_llm / self.later_llm


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
    return [_conversation(name, found) for name, found in sessions.items()]


def prompt_line(requests: Iterable[Request]) -> Line | None:
    """LLM seconds by prompt tokens, of the requests that know both."""
    known = [(r.prompt_tokens, r.llm_seconds) for r in requests if r.prompt_tokens is not None and r.llm_seconds]
    return fit([tokens for tokens, _ in known], [seconds for _, seconds in known])


def _conversation(name: str, requests: Sequence[Request]) -> Conversation:
    taken = [request.llm_seconds for request in requests if request.llm_seconds is not None]
    later = taken[1:]
    line = fit([float(index) for index in range(len(later))], later)
    return Conversation(
        session=name,
        requests=tuple(requests),
        first_llm=taken[0] if taken else None,
        later_llm=median(later) if later else None,
        prompts=prompt_line(requests),
        trend=_trend(later),
        per_request=line.slope if line else None,
    )


def _trend(later: Sequence[float]) -> str:
    if len(later) < MIN_FOR_TREND:
        return UNKNOWN
    test = kendall(later)
    if test.p_value > TREND_P:
        return STEADY
    return SLOWER if test.superiority > 0.5 else FASTER


def _start(request: Request) -> float:
    return request.start
