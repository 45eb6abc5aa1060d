"""The course of a conversation: does a longer prompt take longer, does the model remember, does it get slower.

A model server keeps the keys and values of a prompt it has read (KV cache), so the first request of a session reads all
of its prompt and the later ones only what is new: the speed-up is the first LLM time over the median of the later ones.
The trend is that of the later ones alone.

Pure. Cost: a sort of its requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, NamedTuple

from otel_latency.significance.statistics import Line, fit, kendall

MIN_FOR_TREND: Final = 8
"""Requests after the first; with fewer of them a trend is nobody's to tell."""
TREND_P: Final = 0.05

SLOWER: Final = "slower"
FASTER: Final = "faster"
STEADY: Final = "steady"
UNKNOWN: Final = "unknown"

Call = tuple[float | None, float | None]
"""Prompt tokens and LLM seconds of a request, as far as they are known."""


class Course(NamedTuple):
    """Times are seconds; None where the requests do not tell. `prompts` relates tokens to LLM seconds.

    `speedup` says how many times faster later requests are than the first, `per_request` by how many seconds each LLM
    call takes longer than the one before, in the later requests.
    """

    first_llm: float | None
    later_llm: float | None
    speedup: float | None
    prompts: Line | None
    trend: str
    per_request: float | None


def course(calls: Sequence[Call]) -> Course:
    """Of one session's requests, in order."""
    taken = [seconds for _, seconds in calls if seconds is not None]
    first, later = (taken[0] if taken else None), taken[1:]
    later_llm = median(later) if later else None
    line = fit([float(index) for index in range(len(later))], later)
    return Course(
        first_llm=first,
        later_llm=later_llm,
        speedup=first / later_llm if first is not None and later_llm else None,
        prompts=prompt_line(calls),
        trend=_trend(later),
        per_request=line.slope if line else None,
    )


def prompt_line(calls: Iterable[Call]) -> Line | None:
    """LLM seconds by prompt tokens, of the requests that know both."""
    known = [(tokens, seconds) for tokens, seconds in calls if tokens is not None and seconds]
    return fit([tokens for tokens, _ in known], [seconds for _, seconds in known])


def _trend(later: Sequence[float]) -> str:
    if len(later) < MIN_FOR_TREND:
        return UNKNOWN
    test = kendall(later)
    if test.p_value > TREND_P:
        return STEADY
    return SLOWER if test.superiority > 0.5 else FASTER
