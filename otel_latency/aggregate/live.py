"""Latency lines and a heatmap of the last minute, for whoever looks at it now.

    live.choose(now)                 # once in a while: which series are worth a line
    live.lines(), live.heat()        # each 250 ms
    live.past(index)                 # once for each viewer: what it would have seen in the last minute

A line is p50, p90 and p99 over the last 10 s. A column of the heatmap tells how many values ended in the same 250 ms,
by rows of which four make a factor of two. Columns are told when they change, so that spans that come late are seen.
Nothing is kept but which columns were told: the windows of the aggregator hold the rest, whether somebody looks or not.

Cost, with `MAX_SERIES` lines: 0.6 ms for all lines, 0.1 ms for the heatmap; 1 ms for the past of one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.windows import AGGREGATE, QUANTUM_NS, REAL_TIME, SYSTEM, Windows
from otel_latency.sketch import SCALE, Sketch

QUANTILES: Final = (0.5, 0.9, 0.99)
HORIZON: Final = "10s"
HORIZON_SECONDS: Final = 10
PAST_SECONDS: Final = 60
LATE_QUANTA: Final = 40
"""Columns that are looked at for news; what comes later than 10 s is in the percentiles of longer windows only."""
ROWS_PER_OCTAVE: Final = 4
_WIDTH: Final = (1 << SCALE) // ROWS_PER_OCTAVE
LOWEST, HIGHEST = -8 * ROWS_PER_OCTAVE, 10 * ROWS_PER_OCTAVE  # 4 ms and 1,024 s
MAX_SERIES: Final = 40
KINDS: Final = {
    "otel_latency_turn_duration_seconds": "turn",
    "otel_latency_turn_time_to_first_audio_seconds": "first_audio",
    "otel_latency_turn_time_to_first_token_seconds": "first_token",
    "otel_latency_stage_duration_seconds": "stage",
}
_ORDER: Final = {"turn": 0, "first_audio": 1, "stage": 2, "first_token": 3}

JSON = dict[str, object]
Column = list[int]
"""Index of a line, quantum (Unix time divided by 250 ms), then pairs of row and count."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A series that is drawn; `told` are the counts of columns that were told, by quantum."""

    kind: str
    service: str
    name: str
    windows: Windows
    told: dict[int, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.service, self.name


class Live:
    """Reads the aggregator's windows as of its last fold; *now* is Unix seconds."""

    def __init__(self, aggregator: Aggregator, *, max_series: int = MAX_SERIES) -> None:
        self._aggregator = aggregator
        self._max_series = max_series
        self._lines: list[Line] = []

    def choose(self, now: float) -> None:
        """Draw the turns and stages that were busiest in the last minutes: kinds of turns first, then stages."""
        minute = int(now // 60)
        found = []
        for family, labels, windows in self._aggregator.windowed(KINDS):
            recent = sum(one.count for slot in (minute, minute - 1) if (one := windows.window(AGGREGATE, slot)))
            if recent:
                named = dict(labels)
                name = named.get("turn", named.get("stage", "")) or "others"
                found.append((recent, Line(KINDS[family], named.get("service", ""), name, windows)))
        found.sort(key=lambda pair: (_ORDER[pair[1].kind], -pair[0], pair[1].key))
        known = {id(line.windows): line for line in self._lines}
        self._lines = [known.get(id(line.windows), line) for _, line in found[: self._max_series]]

    def series(self) -> list[JSON]:
        """What the lines are of; the place in this list is their index."""
        return [{"kind": line.kind, "service": line.service, "name": line.name} for line in self._lines]

    def lines(self, now: float) -> list[list[float | None]]:
        """For each line p50, p90 and p99 of the last 10 s."""
        present = _quantum(now)
        found = []
        for line in self._lines:
            line.windows.advance(present)
            ((_, values),) = line.windows.sliding(QUANTILES, (HORIZON,))
            found.append(_known(values))
        return found

    def heat(self, now: float) -> list[Column]:
        """The columns that have changed since they were last told."""
        present = _quantum(now)
        return [
            column
            for index, line in enumerate(self._lines)
            for column in _news(index, line, range(present - LATE_QUANTA, present + 1))
        ]

    def past(self, now: float) -> Iterator[tuple[list[list[float | None]], list[Column]]]:
        """For each line its values at the end of each of the last 60 seconds, and its columns in them.

        As it is the only line there, its index is 0.
        """
        second, present = int(now), _quantum(now)
        for line in list(self._lines):
            by_second, by_quantum = line.windows.ring(SYSTEM), line.windows.ring(REAL_TIME)
            values = [_at(by_second, at) for at in range(second - PAST_SECONDS, second)]
            columns = [
                [0, quantum, *_rows(window)]
                for quantum, window in by_quantum.items()
                if present - 4 * PAST_SECONDS < quantum <= present
            ]
            yield values, columns

    def slow_since(self, kind: str, service: str, name: str, limit: float, now: float) -> float | None:
        """Since when the p95 of each minute has been over *limit*, in Unix seconds; at most an hour is looked back."""
        line = next((line for line in self._lines if line.key == (kind, service, name)), None)
        return None if line is None else _over_since(line.windows, limit, int(now // 60))


def _quantum(now: float) -> int:
    return int(now * 1e9) // QUANTUM_NS


def _known(values: Sequence[float]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values]


def _at(by_second: dict[int, Sketch], second: int) -> list[float | None]:
    """Quantiles of the ten seconds that end with *second*."""
    merged = Sketch()
    for index in range(second - HORIZON_SECONDS + 1, second + 1):
        window = by_second.get(index)
        if window is not None:
            merged.merge(window)
    return _known(merged.quantiles(QUANTILES))


def _news(index: int, line: Line, quanta: range) -> Iterator[Column]:
    windows, told = line.windows.ring(REAL_TIME), line.told
    for quantum in quanta:
        window = windows.get(quantum)
        if window is not None and told.get(quantum) != window.count:
            told[quantum] = window.count
            yield [index, quantum, *_rows(window)]
    for quantum in [each for each in told if each < quanta.start]:
        del told[quantum]


def _rows(window: Sketch) -> list[int]:
    """Pairs of row and count; row r holds what is over 2^((r-1)/4) s and up to 2^(r/4) s."""
    counts: dict[int, int] = {}
    if window.non_positive_count():
        counts[LOWEST] = window.non_positive_count()
    for bucket, count in window.buckets().items():
        row = min(max(-(-bucket // _WIDTH), LOWEST), HIGHEST)
        counts[row] = counts.get(row, 0) + count
    return [number for pair in counts.items() for number in pair]


def _over_since(windows: Windows, limit: float, minute: int) -> float | None:
    since = None
    for slot in range(minute, minute - 60, -1):
        window = windows.window(AGGREGATE, slot)
        if window is None or window.quantile(0.95) <= limit:
            if slot == minute:
                continue  # it has only begun
            break
        since = slot * 60.0
    return since
