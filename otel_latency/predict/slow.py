"""Was this call slow? Judged by its own operation's history, and once it is over by its number of output tokens.

The probability of taking as long by chance is what is judged, not a ratio: twice as long is nothing for an operation
whose answers vary, and much for one whose answers do not. A call that had many tokens to say is told apart from one
that said them slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_latency.predict.estimate import Estimate

RARE: Final = 0.01
EXPLAINED: Final = 0.05
SPEED_SHARE: Final = 0.6
WHOLE_SHARE: Final = 0.2
"""Of the false alarms that may be spent on calls that are slow for their number of tokens, and as a whole. The rest is
kept back: the tail given the tokens is never drawn wider than is plausible, so that past faults do not hide new ones.
"""
LONGER: Final = "longer answer"
SLOWER: Final = "slower per token"


@dataclass(frozen=True, slots=True)
class SlowCall:
    """A call that took `seconds`, which by chance happens with `probability`."""

    seconds: float
    expected: float
    probability: float
    reason: str

    @property
    def text(self) -> str:
        odds = f"1 in {1 / self.probability:.0f}" if self.probability >= 1e-4 else "less than 1 in 10,000"
        why = f": {self.reason}" if self.reason else ""
        return f"took {self.seconds:.3g} s where {self.expected:.3g} s were expected ({odds}){why}"


def probability(estimate: Estimate, seconds: float, given: Estimate | None = None) -> float:
    """That a call takes at least *seconds*; *given* is the estimate that knows the output tokens.

    With both, two questions are asked, and each may only spend its share of the errors (Bonferroni, weighted).
    """
    whole = estimate.tail(seconds)
    return whole if given is None else min(1.0, given.tail(seconds) / SPEED_SHARE, whole / WHOLE_SHARE)


def slow_call(estimate: Estimate, seconds: float, given: Estimate | None = None) -> SlowCall | None:
    """None unless fewer than one call in a hundred would take as long."""
    rare = probability(estimate, seconds, given)
    if rare >= RARE:
        return None
    if given is None:
        return SlowCall(seconds, estimate.seconds, rare, "")
    if given.tail(seconds) < EXPLAINED:
        return SlowCall(seconds, given.seconds, rare, SLOWER)
    return SlowCall(seconds, estimate.seconds, rare, LONGER)
