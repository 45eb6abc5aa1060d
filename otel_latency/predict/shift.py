"""A model got slower: noticed after tens of calls, dated and sized before it is said.

Three cumulative sums run over the calls of one (provider, model), whatever the operation, since each call is compared
with what its own operation was expected to take: `level` (whole durations), `speed` (given the output tokens) and
`tail` (how many exceed their p90, and how far). When a sum passes its limit, the latest calls are cut in two where
they differ most; only a significant difference (Welch's t beyond `SIGNIFICANT`) is a `Shift`. With the limits below
there are about one in 2,000 calls that raise a false alarm.

Cost: 2 us a call. Memory: the latest 200 calls.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import exp, isnan, log, nan, sqrt
from statistics import fmean, median, variance
from typing import Final, Literal, NamedTuple

Kind = Literal["level", "speed", "tail"]
ALLOWANCE: Final = 0.25
"""Standard deviations that a call may be over what was expected."""
CAP: Final = 2.5
"""... and those that a single call counts, at most."""
LIMITS: Final[dict[Kind, float]] = {"level": 10.0, "speed": 10.0, "tail": 6.0}
UNDER: Final = log(0.8 / 0.9)
SEVEREST: Final = 6.0
HIGHEST: Final[dict[Kind, float]] = {"level": CAP, "speed": CAP, "tail": SEVEREST}
SIGNIFICANT: Final[dict[Kind, float]] = {"level": 3.5, "speed": 3.5, "tail": 1.5}
LENGTH: Final = 200
WARM_UP: Final = 30
QUIET: Final = 100
"""Calls after a shift that only teach what is normal now."""
LEAST: Final = 5
PER_TOKEN: Final = "slower per token"  # noqa: S105 - words


class Call(NamedTuple):
    """One call against what was expected: deviations in log seconds, NaN where the tokens are unknown."""

    level: float
    speed: float
    tail: float
    seconds: float
    off: float
    off_speed: float
    time: float


@dataclass(frozen=True, slots=True)
class Shift:
    """A model's calls take longer than they did, by `ratio`; `since` is Unix seconds, where times were given."""

    provider: str
    model: str
    kind: Kind
    since: float | None
    calls: int
    ratio: float
    p50: tuple[float, float]
    p99: tuple[float, float]
    reason: str

    @property
    def text(self) -> str:
        """What changed, by how much, since when, and why."""
        place, (before, after) = ("p99", self.p99) if self.kind == "tail" else ("p50", self.p50)
        much = "more calls are far slower than usual" if self.kind == "tail" else f"{self.ratio:.2f} times as slow"
        who = " ".join(part for part in (self.provider, self.model) if part)
        return f"{who}: {much} for {self.calls} calls ({place} {before:.3g} -> {after:.3g} s): {self.reason}"


@dataclass(frozen=True, slots=True)
class AnomalyScore:
    """How near a model is to a `Shift`: 0 is normal, 1 has been announced; `kind` says in which way."""

    value: float
    kind: Kind


class Watch:
    """The sums of one (provider, model)."""

    __slots__ = ("calls", "count", "quiet", "sums")

    def __init__(self) -> None:
        self.sums: dict[Kind, float] = dict.fromkeys(LIMITS, 0.0)
        self.calls: deque[Call] = deque(maxlen=LENGTH)
        self.count = 0.0
        self.quiet = 0.0

    def add(self, call: Call) -> Kind | None:
        """The kind of change that the calls now show for sure."""
        self.calls.append(call)
        self.count += 1
        if self.quiet:
            self.quiet -= 1
            return None
        if self.count <= WARM_UP:
            return None
        self._sum("level", min(call.level, CAP) - ALLOWANCE)
        if not isnan(call.speed):
            self._sum("speed", min(call.speed, CAP) - ALLOWANCE)
        self._sum("tail", call.tail)
        over = next((kind for kind, limit in LIMITS.items() if self.sums[kind] > limit), None)
        if over is None or self.cut(over) is not None:
            return over
        self.sums[over] = LIMITS[over] / 2
        return None

    def _sum(self, kind: Kind, evidence: float) -> None:
        self.sums[kind] = max(0.0, self.sums[kind] + evidence)

    def score(self) -> AnomalyScore:
        if self.quiet:
            return AnomalyScore(1.0, "level")
        shares: dict[Kind, float] = {kind: min(1.0, self.sums[kind] / limit) for kind, limit in LIMITS.items()}
        kind = max(shares, key=shares.__getitem__)
        return AnomalyScore(shares[kind], kind)

    def cut(self, kind: Kind) -> int | None:
        """The index of the first call after the change, None where there is no significant one."""
        values = [min(getattr(call, kind), HIGHEST[kind]) for call in self.calls]
        known = [index for index, value in enumerate(values) if not isnan(value)]
        place, strength = _split([values[index] for index in known])
        return known[place] if strength >= SIGNIFICANT[kind] else None

    def announce(self, provider: str, model: str, kind: Kind) -> Shift:
        """The change of *kind*, in figures; the sums start anew."""
        place = self.cut(kind) or len(self.calls) // 2
        before, after = list(islice(self.calls, place)), list(islice(self.calls, place, None))
        self.sums = dict.fromkeys(LIMITS, 0.0)
        self.quiet = QUIET
        whole = _change([call.off for call in before], [call.off for call in after])
        speed = _change([call.off_speed for call in before], [call.off_speed for call in after])
        reason = _reason(kind, whole, speed)
        since = after[0].time
        return Shift(
            provider=provider,
            model=model,
            kind=kind,
            since=None if isnan(since) else since,
            calls=len(after),
            ratio=exp(speed if reason == PER_TOKEN else whole),
            p50=(_rank(before, 0.5), _rank(after, 0.5)),
            p99=(_rank(before, 0.99), _rank(after, 0.99)),
            reason=reason,
        )

    def numbers(self) -> list[float]:
        return [self.count, self.quiet, *self.sums.values(), self.calls[0].time if self.calls else nan]

    def arrays(self) -> list[array[float]]:
        """A column for each field of the calls; times are relative to the first, or lose their seconds."""
        start = self.calls[0].time if self.calls else nan
        columns = [array("f", column) for column in zip(*self.calls, strict=True)]
        return [*columns[:-1], array("f", [call.time - start for call in self.calls])] if columns else []

    def restore(self, numbers: list[float], arrays: Sequence[array[float]]) -> None:
        self.count, self.quiet, *sums, start = numbers
        self.sums = dict(zip(LIMITS, sums, strict=True))
        self.calls.clear()
        for row in zip(*arrays, strict=True):
            call = Call._make(row)
            self.calls.append(call._replace(time=call.time + start))


def tail_evidence(excess: float) -> float:
    """For the sum of the tail: *excess* is how far beyond p90 a call was, in units of an exponential tail's mean.

    The logarithm of the likelihood ratio of "twice as many exceed p90, by twice as much" against "as ever".
    """
    return UNDER if excess < 0 else min(excess, SEVEREST) / 2


def _split(values: Sequence[float]) -> tuple[int, float]:
    """Where the values after are most surely larger than those before, and Welch's t of the two halves."""
    count = len(values)
    if count < 2 * LEAST:
        return 0, 0.0
    total, so_far, best, place = sum(values), 0.0, -1.0, LEAST
    for index, value in enumerate(values, 1):
        so_far += value
        if LEAST <= index <= count - LEAST:
            apart = (total - so_far) / (count - index) - so_far / index
            gain = apart * sqrt(index * (count - index)) if apart > 0 else 0.0
            if gain > best:
                best, place = gain, index
    before, after = values[:place], values[place:]
    noise = variance(before) / len(before) + variance(after) / len(after)
    return place, (fmean(after) - fmean(before)) / sqrt(noise + 1e-12)


def _change(before: Sequence[float], after: Sequence[float]) -> float:
    """Of the median; NaN where nothing is known."""
    known = [[value for value in values if not isnan(value)] for values in (before, after)]
    return median(known[1]) - median(known[0]) if all(known) else nan


def _rank(calls: Sequence[Call], level: float) -> float:
    ascending = sorted(call.seconds for call in calls)
    return ascending[min(int(level * len(ascending)), len(ascending) - 1)] if ascending else nan


def _reason(kind: Kind, whole: float, speed: float) -> str:
    if kind == "tail":
        return "the slowest calls became slower"
    if isnan(speed):
        return "slower"
    return PER_TOKEN if kind == "speed" or speed > whole / 2 else "longer answers"
