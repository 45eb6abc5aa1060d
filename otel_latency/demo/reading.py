"""What the agent's /metrics page says about turns, as numbers for one line.

Quantiles come from the page as they are, for each kind of turn: those of several kinds cannot be made into one.
Counters are compared with what they were up to a minute ago.

Cost: 1 ms a page; lines that are not asked for are not parsed.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

WINDOW: Final = "1m"
MINUTE: Final = 60.0
FAILED: Final = frozenset({"error", "timeout"})

_DURATION: Final = "otel_latency_turn_window_seconds"
_FIRST_AUDIO: Final = "otel_latency_turn_time_to_first_audio_window_seconds"
_TURNS: Final = "otel_latency_turns_total"
_RUNNING: Final = "otel_latency_operations_in_flight"
_WANTED: Final = tuple(f"{name}{{" for name in (_DURATION, _FIRST_AUDIO, _TURNS, _RUNNING))

Quantiles = Mapping[str, float]
"""Quantile, as the page writes it ("0.95") -> seconds; without those that the window has no values for."""


@dataclass(frozen=True, slots=True)
class TurnReading:
    """One kind of turn. Quantiles are over the last minute, the count is since the agent's start."""

    service: str
    turn: str
    count: int
    duration: Quantiles
    first_audio: Quantiles


@dataclass(frozen=True, slots=True)
class Reading:
    """A page. `failed` of the `finished` turns ended in an error or a timeout, ever; `running` are stages, now."""

    turns: tuple[TurnReading, ...]
    finished: int
    failed: int
    running: int


def read(page: str) -> Reading:
    """The figures of a page in Prometheus' text format."""
    statuses: Counter[str] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    quantiles: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    running = 0
    wanted = "\n".join(line for line in page.splitlines() if line.startswith(_WANTED))
    for family in text_string_to_metric_families(f"{wanted}\n"):
        for name, labels, value, *_ in family.samples:
            if name == _RUNNING:
                running += int(value)
                continue
            service, turn = labels.get("service", ""), labels.get("turn", "")
            if name == _TURNS:
                statuses[labels["status"]] += int(value)
                counts[service, turn] += int(value)
            elif labels.get("window") == WINDOW and isfinite(value):
                quantiles[name, service, turn][labels["quantile"]] = value
    return Reading(
        turns=tuple(
            TurnReading(
                service, turn, count, quantiles[_DURATION, service, turn], quantiles[_FIRST_AUDIO, service, turn]
            )
            for (service, turn), count in counts.items()
        ),
        finished=statuses.total(),
        failed=sum(statuses[status] for status in FAILED),
        running=running,
    )


class LastMinute:
    """Rates of the counters, from the readings of up to a minute; *now* never goes backwards.

    The first minute begins with the last reading before any turn had finished.
    """

    def __init__(self, now: float) -> None:
        self._known: deque[tuple[float, int, int]] = deque([(now, 0, 0)])

    def add(self, reading: Reading, now: float) -> None:
        if not reading.finished:
            self._known.clear()
        self._known.append((now, reading.finished, reading.failed))
        while now - self._known[0][0] > MINUTE:
            self._known.popleft()

    @property
    def turns_per_second(self) -> float:
        (start, finished_before, _), (end, finished, _) = self._known[0], self._known[-1]
        return (finished - finished_before) / (end - start) if end > start else 0.0

    @property
    def error_ratio(self) -> float:
        (_, finished_before, failed_before), (_, finished, failed) = self._known[0], self._known[-1]
        return (failed - failed_before) / (finished - finished_before) if finished > finished_before else 0.0
