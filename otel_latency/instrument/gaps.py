"""How evenly a stream flowed: time per output token, gaps between tokens and stalls.

The formulas of DistServe and of the serving benchmarks that follow it (vLLM, SGLang), for a client that sees chunks:

    time per output token = (last token - first token) / (output tokens - 1)
    gap between tokens    = distance of neighbouring token chunks, counted once for each token in the later one
    stall                 = a gap longer than `STALL_FACTOR` times the median

A chunk may hold several tokens. With k tokens per chunk, as the provider's usage tells, the first chunk's k tokens were
there at the start, so "- 1" becomes "- k", and a distance is k gaps of 1/k. Without usage a chunk counts as one token.
The first wait is no gap: time to first token is a measure of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from typing import Final

STALL_FACTOR: Final = 5.0
_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Flow:
    """All in seconds. `longest_gap` is the longest silence as it was heard, not divided among a chunk's tokens."""

    time_per_output_token: float
    gap_p50: float
    gap_p99: float
    gap_max: float
    longest_gap: float
    stalls: int


def flow(stamps_ns: Sequence[int], tokens_per_chunk: float = 1.0) -> Flow | None:
    """The flow of the token chunks that arrived at *stamps_ns*; None when there are fewer than two."""
    chunks = len(stamps_ns)
    if chunks < 2:
        return None
    distances = sorted(map(sub, stamps_ns[1:], stamps_ns))
    median = quantile(distances, 0.5)
    token = tokens_per_chunk * _NS
    return Flow(
        time_per_output_token=(stamps_ns[-1] - stamps_ns[0]) / (token * (chunks - 1)),
        gap_p50=median / token,
        gap_p99=quantile(distances, 0.99) / token,
        gap_max=distances[-1] / token,
        longest_gap=distances[-1] / _NS,
        stalls=len(distances) - bisect_right(distances, STALL_FACTOR * median),
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """By linear interpolation between the closest ranks of values in ascending order."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
