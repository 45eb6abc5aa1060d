"""What took longer than its own past lets expect, in words, and how unusual things are at the moment.

A slow call is one that fewer than one in a hundred would match by chance; a shift says that all calls, or the slowest
of them, have become slower. Both are kept, the latest of each sort, and logged as warnings, a few a minute and then
only their number.

The score of a service's stage, 0 to 1, is the largest of three, each of which halves with every minute of age:
  - 1 for five minutes after a shift was noticed,
  - 0.9 times the share of the evidence that a shift would need, so that above 0.9 it is always certain,
  - for a slow call a sixth of the zeros of its odds: 0.33 for one in a hundred, 0.5 for one in a thousand, 1 for one
    in a million. It halves twice a minute.
It ends when nothing was heard of the stage for a quarter of an hour.

Memory: about 1 KiB for each of `MAX_SLOW` + `MAX_SHIFTS` anomalies, 300 bytes for each of `max_series` scores.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, replace
from math import log10
from typing import Any, Final, Literal

from otel_latency.predict import AnomalyScore, Shift, SlowCall
from otel_latency.records import Family, ValueSeries

MAX_SLOW: Final = 150
MAX_SHIFTS: Final = 50
LINES: Final = 5
"""A minute, of each sort."""
HOLD: Final = 300.0
HALF_LIFE: Final = 60.0
SLOW_HALF_LIFE: Final = 30.0
EXPIRE: Final = 900.0
SURE: Final = 0.9
ZEROS: Final = 6.0
MOVED: Final = 1.15
"""Where the median has grown by that much it is no matter of the slowest calls alone, though they show it first."""
TODAY: Final = 43_200.0
LEAST_SLOW: Final = 0.02
LEAST_SHIFT: Final = 0.005
"""Seconds below which nobody feels that a call, or all of them, became slower."""

MINUTE: Final = 60.0
MAX_STEP: Final = 60.0
"""Ticks follow each other within a second; when the wall clock jumps, this much is believed."""

Whose = tuple[bool, str, str]
"""Whether a model of a provider, and which; else a service and its stage."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a call came from: the labels of its stage, and of its model where it has one."""

    service: str
    stage: str
    provider: str = ""
    model: str = ""
    task: str = ""

    @property
    def whose(self) -> Whose:
        """Whose change it would be."""
        return (True, self.provider, self.model) if self.task else (False, self.service, self.stage)

    @property
    def who(self) -> str:
        """The same in words."""
        return " ".join(filter(None, (self.provider, self.model))) or f"{self.stage} of {self.service}"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something unlike its own past. `time` is when it was noticed, `since` when it began, both Unix seconds.

    `seconds` and `expected_seconds` of a shift are medians, or 99th percentiles of the tail; `probability` is that of
    a slow call, `factor` a shift's. The ids are those of the slow call, or of the one that made the shift certain.
    """

    kind: Literal["slow_call", "level_shift", "tail_shift"]
    time: float
    since: float
    service: str
    stage: str
    provider: str
    model: str
    task: str
    seconds: float
    expected_seconds: float
    probability: float | None
    factor: float | None
    trace_id: str
    span_id: str
    text: str


class Anomalies:
    """The latest of them, and the scores."""

    def __init__(self, *, max_series: int) -> None:
        self._max_series = max_series
        self._slow: deque[Anomaly] = deque(maxlen=MAX_SLOW)
        self._shifts: deque[Anomaly] = deque(maxlen=MAX_SHIFTS)
        self._scores: OrderedDict[Source, _Score] = OrderedDict()
        self._shifted: dict[Whose, float] = {}
        self._now = 0.0
        self._elapsed = 0.0  # seconds, by which scores fade; steps of the clock do not age them
        self._slow_lines, self._shift_lines = _Lines("slow calls"), _Lines("shifts")

    def slow(self, source: Source, call: SlowCall, since: float, ids: tuple[str, str]) -> None:
        """A single call of *source* was slow; it began at *since*."""
        if call.seconds - call.expected < LEAST_SLOW:
            return
        name = f"{source.who}: {source.task}" if source.task else source.who
        found = Anomaly(
            **asdict(source),
            kind="slow_call",
            time=self._now,
            since=since,
            seconds=call.seconds,
            expected_seconds=call.expected,
            probability=call.probability,
            factor=None,
            trace_id=ids[0],
            span_id=ids[1],
            text=f"{name} {call.text}",
        )
        self._slow.append(found)
        self._score(source).slow = _unlikely(call.probability), self._elapsed
        self._slow_lines.say(found.text)

    def shifted(self, source: Source, shift: Shift, ids: tuple[str, str]) -> None:
        """All calls like those of *source* became slower, or the slowest of them did."""
        is_tail = _is_of_the_tail(shift)
        before, after = shift.p99 if is_tail else shift.p50
        if (after if is_tail else after * (1 - 1 / max(shift.ratio, 1.0))) < LEAST_SHIFT:
            return
        since = self._now if shift.since is None else shift.since
        found = Anomaly(
            **asdict(replace(source, task="")),
            kind="tail_shift" if is_tail else "level_shift",
            time=self._now,
            since=since,
            seconds=after,
            expected_seconds=before,
            probability=None,
            factor=after / before if is_tail else shift.ratio,
            trace_id=ids[0],
            span_id=ids[1],
            text=_shift_text(source.who, shift, since, self._now),
        )
        self._shifts.append(found)
        self._shifted[source.whose] = self._elapsed
        self._shift_lines.say(found.text)

    def heard(self, source: Source, evidence: AnomalyScore) -> None:
        """A call of *source* has ended; *evidence* for a shift there is so far."""
        score = self._score(source)
        score.seen = self._elapsed
        if evidence.value < 1:  # from the shift on, until it may be told again, it is 1
            score.evidence = SURE * evidence.value, self._elapsed

    def tick(self, now: float) -> None:
        """It is *now*, in Unix seconds: say what was held back, and forget the scores of what is silent."""
        self._elapsed += min(max(now - self._now, 0.0), MAX_STEP)
        self._now = now
        self._slow_lines.tick(self._elapsed)
        self._shift_lines.tick(self._elapsed)
        for source in [source for source, score in self._scores.items() if self._elapsed - score.seen > EXPIRE]:
            del self._scores[source]
        for whose in [whose for whose, then in self._shifted.items() if self._elapsed - then > EXPIRE]:
            del self._shifted[whose]

    def latest(self) -> list[Anomaly]:
        """Newest first."""
        return sorted([*self._slow, *self._shifts], key=lambda one: one.time, reverse=True)

    def families(self) -> list[Family]:
        """`otel_latency_anomaly_score`, by service and stage."""
        worst: dict[tuple[str, str], float] = {}
        for source, score in self._scores.items():
            place = source.service, source.stage
            worst[place] = max(worst.get(place, 0.0), self._value(source, score))
        series = [
            ValueSeries((("service", service), ("stage", stage)), value)
            for (service, stage), value in sorted(worst.items())
        ]
        text = "How unlike its own past a stage is: 0 as ever, above 0.9 certainly slower, or a call one in a million."
        return [Family("otel_latency_anomaly_score", "gauge", text, series)] if series else []

    def _value(self, source: Source, score: _Score) -> float:
        evidence, noted = score.evidence
        slow, seen = score.slow
        shifted = self._shifted.get(source.whose)
        return max(
            0.0 if shifted is None else _faded(1.0, self._elapsed - shifted - HOLD, HALF_LIFE),
            _faded(evidence, self._elapsed - noted, HALF_LIFE),
            _faded(slow, self._elapsed - seen, SLOW_HALF_LIFE),
        )

    def state(self) -> list[dict[str, Any]]:
        """What is to be kept over a restart, oldest first."""
        return [asdict(one) for one in reversed(self.latest())]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """The reverse of `state`. TypeError where it is of another shape."""
        for one in [Anomaly(**each) for each in state]:
            (self._slow if one.kind == "slow_call" else self._shifts).append(one)

    def _score(self, source: Source) -> _Score:
        score = self._scores.get(source)
        if score is None:
            score = self._scores[source] = _Score(self._elapsed)
            if len(self._scores) > self._max_series:
                self._scores.popitem(last=False)
        else:
            self._scores.move_to_end(source)
        return score


class _Score:
    """Of one source: evidence and slow call, each with its time; and when it was heard of last."""

    __slots__ = ("evidence", "seen", "slow")

    def __init__(self, now: float) -> None:
        self.seen = now
        self.evidence = 0.0, now
        self.slow = 0.0, now


class _Lines:
    """Warnings about one sort of anomalies: `LINES` a minute, then how many more there were."""

    def __init__(self, sort: str) -> None:
        self._sort = sort
        self._begun = 0.0
        self._said = 0

    def say(self, text: str) -> None:
        self._said += 1
        if self._said <= LINES:
            log.warning("%s", text)

    def tick(self, elapsed: float) -> None:
        """Begin a new minute when it is time."""
        if elapsed - self._begun < MINUTE:
            return
        if self._said > LINES:
            log.warning("and %d more %s within that minute", self._said - LINES, self._sort)
        self._begun, self._said = elapsed, 0


def _faded(value: float, age: float, half_life: float) -> float:
    return value * float(2.0 ** (-max(age, 0.0) / half_life))


def _unlikely(probability: float) -> float:
    return min(1.0, -log10(max(probability, 1e-9)) / ZEROS)


def _shift_text(who: str, shift: Shift, since: float, now: float) -> str:
    form = "%H:%M UTC" if now - since < TODAY else "%Y-%m-%d %H:%M UTC"
    begun = time.strftime(form, time.gmtime(since))
    if _is_of_the_tail(shift):
        return f"{who} has more far slower calls than usual since {begun}{_figures('p99 ', *shift.p99)}"
    # Where other operations are called than before, medians mislead; the ratio is against each one's own past.
    reason = "" if shift.kind == "tail" or shift.reason == "slower" else f", {shift.reason}"
    return f"{who} is slower since {begun}{_figures('', *shift.p50)} (x{shift.ratio:.2g}){reason}"


def _is_of_the_tail(shift: Shift) -> bool:
    return shift.kind == "tail" and not shift.ratio >= MOVED


def _figures(what: str, before: float, after: float) -> str:
    return f": {what}{after:.3g} s instead of {before:.3g} s" if after > before else ""
