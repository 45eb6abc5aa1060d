"""Spans in, metric families out: every latency as histogram, native histogram and sliding quantiles.

`add` only sorts what rows hold by profile; the work is done on whole piles, once per tick, in `fold`. Nothing waits
unseen between the two: a reader who calls `families` folds first. Counters go on from what `restore` was told.

Label sets are capped at `max_series`. What comes after the cap is counted, exactly, in one overflow label set per
kind. A label set that saw nothing for `expire_after` seconds is forgotten.

Cost: 0.2 us a span in `add`; in `fold` about 10 us per profile and 20 us per touched label set.
Memory: about 2 KiB per label set, plus its windows (see `windows`).
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from otel_latency import semconv
from otel_latency.aggregate.distribution import DURATION_BOUNDS, TOKEN_BOUNDS, Distribution
from otel_latency.aggregate.recent import RecentSpans
from otel_latency.aggregate.turn_view import EXPOSED, Observation
from otel_latency.aggregate.windows import HORIZONS, OLDEST, QUANTUM_NS, Windows
from otel_latency.native import Column, Piles
from otel_latency.records import (
    Exemplar,
    Family,
    HistogramSeries,
    Labels,
    Profile,
    SpanRow,
    SummarySeries,
    ValueSeries,
)
from otel_latency.sketch import Sketch

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
OVERFLOW: Final[Labels] = (("otel_metric_overflow", "true"),)
MAX_PENDING: Final = 16_384
"""Rows kept until the next fold; more are folded at once, so that a burst cannot fill the memory."""
MAX_PENDING_PROFILES: Final = 1_024
"""The same for profiles, since each takes 2 KiB while it waits, and a flood of names brings one with every row."""
MAX_STEP: Final = 60.0
"""Folds follow each other within a second; when the wall clock jumps, this much is believed."""
FUTURE_QUANTA: Final = 20
"""Clocks differ: an end up to 5 s ahead is taken for now without a word, one beyond is counted as adjusted."""


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """A family of latencies: a histogram, and where `window` is set its summary over sliding windows."""

    name: str
    help: str
    window: str = ""
    bounds: array[float] = field(default_factory=lambda: DURATION_BOUNDS)


@dataclass(frozen=True, slots=True, eq=False)
class Total:
    """A family of counters, with the label that tells its parts apart."""

    name: str
    help: str
    label: str = ""


def _latency(name: str, help_: str, bounds: array[float] = DURATION_BOUNDS) -> Latency:
    stem = name.removesuffix("_seconds").removesuffix("_duration")
    return Latency(name, help_, f"{stem}_window_seconds", bounds)


TURN_DURATION = _latency("otel_latency_turn_duration_seconds", "Whole turns, first to last byte.")
STAGE_DURATION = _latency("otel_latency_stage_duration_seconds", "Stages of turns.")
LLM_DURATION = _latency("otel_latency_llm_duration_seconds", "LLM calls.")
CLIENT_DURATION = Latency("gen_ai_client_operation_duration_seconds", "GenAI operations, by the GenAI conventions.")

TURN_MEASURES = {
    "ttft": _latency("otel_latency_turn_time_to_first_token_seconds", "From the turn's start to its first token."),
    "ttfs": _latency("otel_latency_turn_time_to_first_sentence_seconds", "... to its first sentence."),
    "tts_start": _latency("otel_latency_turn_time_to_first_tts_seconds", "... to its first start of speech synthesis."),
    "ttfa": _latency("otel_latency_turn_time_to_first_audio_seconds", "... to its first audio."),
}
TURN_EXPOSED = Latency(EXPOSED, "Each stage's share of the critical path of its turn.")
LLM_MEASURES = {
    "ttft": _latency("otel_latency_llm_time_to_first_token_seconds", "From request to first generated token."),
    "tpot": _latency("otel_latency_llm_time_per_output_token_seconds", "Mean gap of tokens.", TOKEN_BOUNDS),
}
CLIENT_MEASURES = {
    "ttfc": Latency(
        "gen_ai_client_operation_time_to_first_chunk_seconds", "From request to first chunk, by the GenAI conventions."
    ),
}

TURNS = Total("otel_latency_turns_total", "Turns, by how they ended.", "status")
STAGES = Total("otel_latency_stages_total", "Stages, by how they ended.", "status")
LLM_CALLS = Total("otel_latency_llm_calls_total", "LLM calls, by how they ended.", "status")
LLM_RETRIES = Total("otel_latency_llm_retries_total", "Attempts after the first.", "reason")
LLM_TOKENS = Total("otel_latency_llm_tokens_total", "Tokens, by type; input includes cached tokens.", "type")
LLM_COST = Total("otel_latency_llm_cost_usd_total", "Cost as far as it is known, in US dollars.")

LLM_TOTALS = {
    "input_tokens": (LLM_TOKENS, "input"),
    "output_tokens": (LLM_TOKENS, "output"),
    "cache_read_tokens": (LLM_TOKENS, "cache_read"),
    "cache_write_tokens": (LLM_TOKENS, "cache_write"),
    "reasoning_tokens": (LLM_TOKENS, "reasoning"),
    "audio_input_tokens": (LLM_TOKENS, "audio_input"),
    "audio_output_tokens": (LLM_TOKENS, "audio_output"),
    "cost_usd": (LLM_COST, ""),
    "retries": (LLM_RETRIES, "unknown"),
    **{f"retries_{reason}": (LLM_RETRIES, reason) for reason in semconv.RETRY_REASONS},
}


COUNTERS: Final = {total.name: total for total in (TURNS, STAGES, LLM_CALLS, LLM_RETRIES, LLM_TOKENS, LLM_COST)}
"""All counters here, by name."""
_OF_TURNS: Final = {latency.name: latency for latency in (TURN_EXPOSED, *TURN_MEASURES.values())}


class Entity:
    """One label set with all that is counted for it, `created` in Unix time (0: unknown) and `seen` in elapsed time."""

    __slots__ = ("created", "labels", "latencies", "seen", "totals")

    def __init__(self, labels: Labels, created: float, seen: float) -> None:
        self.labels = labels
        self.created = created
        self.seen = seen
        self.latencies: dict[Latency, Distribution] = {}
        self.totals: dict[tuple[Total, str], float] = {}

    def latency(self, family: Latency, now: float) -> Distribution:
        distribution = self.latencies.get(family)
        if distribution is None:
            distribution = Distribution(family.bounds, now, windowed=bool(family.window))
            self.latencies[family] = distribution
        return distribution


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the spans of one profile are counted."""

    durations: Sequence[tuple[Entity, Latency]]
    calls: Sequence[tuple[Entity, Total]]
    measures: dict[str, Sequence[tuple[Entity, Latency]]]
    totals: dict[str, tuple[Entity, Total, str]]


class Aggregator:
    """Counts spans by turn, stage and LLM call."""

    def __init__(self, *, max_series: int = 2000, expire_after: float = 900.0) -> None:
        self._max_series = max_series
        self._expire_after = expire_after
        self._recent = RecentSpans()
        self._piles = Piles(QUANTUM_NS, dict.fromkeys([*TURN_MEASURES, *LLM_MEASURES, *CLIENT_MEASURES]))
        self._pending_count = 0
        self._entities: dict[tuple[str, Labels], Entity] = {}
        self._targets: dict[Profile, Targets] = {}
        self._touched: dict[Distribution, tuple[Latency, Entity]] = {}
        self._changed: dict[Distribution, tuple[Latency, Entity]] = {}  # since their minutes were taken
        self._now = 0.0
        self._elapsed = 0.0  # seconds, by which things grow old; steps of the clock do not age them
        self._before: dict[tuple[str, Labels], float] = {}  # counters of a former run that have not gone on yet
        self._before_expires = 0.0
        self.llm_stages: set[tuple[str, str]] = set()
        """Services and stages that are calls of models."""
        self.dropped: Counter[str] = Counter()
        """Spans that were not counted, by reason: `duplicate`."""
        self.adjusted: Counter[str] = Counter()
        """Spans whose times are odd, by reason: `negative_duration` (counted as 0), `future` (as ended now), `late`
        (in the history's minutes, and no longer in the windows), `no_times` (counted without a duration)."""
        self.overflowed: Counter[str] = Counter()
        """Times a new label set found no room, by kind."""

    def fresh(self, rows: list[SpanRow]) -> list[SpanRow]:
        """Those of *rows* that were not seen before; the others are dropped."""
        fresh = self._recent.fresh(rows)
        self.dropped["duplicate"] += len(rows) - len(fresh)
        return fresh

    def remember(self, rows: list[SpanRow]) -> None:
        """These were counted before: they are not `fresh` any more."""
        self._recent.fresh(rows)

    def add(self, rows: list[SpanRow], now: float) -> None:
        """Take finished spans that are `fresh`; *now* is Unix seconds."""
        pending_profiles = self._piles.add(rows)
        self._pending_count += len(rows)
        if self._pending_count >= MAX_PENDING or pending_profiles >= MAX_PENDING_PROFILES:
            self.fold(now)

    def observe(self, observations: Iterable[Observation]) -> None:
        """Count what only whole turns tell, each turn once; best with all turns of a tick at a time."""
        found: defaultdict[tuple[str, Labels], list[Observation]] = defaultdict(list)
        for one in observations:
            found[one.family, one.labels].append(one)
        present = self._present()
        for (family, labels), same in found.items():
            entity = self._entity("turn", labels)
            entity.seen = self._elapsed
            distribution = entity.latency(_OF_TURNS[family], self._now)
            values = array("d", [max(one.value, 0.0) for one in same])
            distribution.buffer(values, array("q", [min(one.time_ns // QUANTUM_NS, present) for one in same]))
            slowest = max(same, key=_value)
            ids = slowest.trace_id.hex(), slowest.span_id.hex()
            distribution.show(Exemplar(slowest.value, *ids, slowest.time_ns * 1e-9), self._now)
            self._touched[distribution] = _OF_TURNS[family], entity

    def restore(self, counters: Mapping[tuple[str, Labels], float]) -> None:
        """Let counters go on from their values in a former run, by name and labels in the order of their names."""
        self._before = {key: value for key, value in counters.items() if key[0] in COUNTERS}
        self._before_expires = self._elapsed + self._expire_after

    def add_cost(self, profile: Profile, usd: float) -> None:
        """Count what calls have cost whose rows came before their price was known."""
        targets = self._targets.get(profile) or self._new_targets(profile)
        self._count(*targets.totals["cost_usd"], usd)

    def fold(self, now: float) -> None:
        """Count what was added since the last fold. Called at every tick and before every read."""
        self._elapsed += min(max(now - self._now, 0.0), MAX_STEP)
        self._now = now
        self._recent.turn(self._elapsed)
        if not (self._pending_count or self._touched):
            return
        self._pending_count = 0
        for profile, count, durations, sums, latencies in self._piles.take():
            targets = self._targets.get(profile) or self._new_targets(profile)
            self.adjusted["no_times"] += count - (len(durations[0]) if durations else 0)
            if durations:
                self._buffer(targets.durations, self._corrected(durations))
            for name, amount in _told_apart(sums).items():
                if name in targets.totals:
                    self._count(*targets.totals[name], amount)
            for name, column in latencies.items():
                self._buffer(targets.measures.get(name, ()), column)
            for entity, family in targets.calls:
                self._count(entity, family, profile.status, count)
            for entity, _ in targets.durations:
                entity.seen = self._elapsed
        present = self._present()
        for distribution in self._touched:
            distribution.settle(present)
        self._changed.update(self._touched)
        self._touched.clear()

    def expire(self, now: float) -> int:
        """Forget label sets without news for `expire_after` seconds; returns how many. Called every minute or so."""
        self.fold(now)
        gone = [key for key, one in self._entities.items() if self._elapsed - one.seen > self._expire_after]
        for key in gone:
            del self._entities[key]
        if gone:
            self._targets.clear()
            self.llm_stages.clear()
        return len(gone)

    @property
    def series(self) -> int:
        """Label sets held, overflow included."""
        return len(self._entities)

    def families(self, now: float) -> list[Family]:
        """Everything counted so far, as metric families in the order of design §6."""
        return joined(self.parts(now))

    def parts(self, now: float, size: int = 1 << 30) -> Iterator[Family]:
        """The same in parts of *size* label sets, for whoever has other work to do in between; see `joined`.

        Each part tells of the moment that it is asked for. About 60 us per label set.
        """
        self.fold(now)
        counters = self.counters()
        for latency, found in self._by_latency().items():
            for start in range(0, len(found), size):
                yield self._histogram_family(latency, found[start : start + size])
                if latency.window:
                    yield self._window_family(latency, found[start : start + size], HORIZONS)
        yield from counters

    def counts(self) -> list[Family]:
        """The counters, and of the latencies count and sum, without buckets, as of the last fold: 1 us a series."""
        found = [*self.counters()]
        for latency, pairs in self._by_latency().items():
            series = [HistogramSeries(entity.labels, one.total.count, one.total.sum, ()) for entity, one in pairs]
            found.append(Family(latency.name, "histogram", latency.help, series, "seconds"))
        return found

    def recent(self, horizon: str, size: int = 1 << 30) -> Iterator[Family]:
        """Quantiles over one of the sliding windows, as of the last fold, in parts of *size* label sets; see `joined`.

        About 15 us a label set.
        """
        for latency, found in self._by_latency().items():
            if latency.window:
                for start in range(0, len(found), size):
                    yield self._window_family(latency, found[start : start + size], (horizon,))

    def counters(self) -> list[Family]:
        """The counters alone, as of the last fold: 1 us a series. Those of a former run stay as they were until they go
        on, or for `expire_after`.
        """
        by_total: defaultdict[Total, list[ValueSeries]] = defaultdict(list)
        for entity in self._entities.values():
            for (total, part), amount in entity.totals.items():
                by_total[total].append(ValueSeries(_counted_labels(entity, total, part), amount, entity.created))
        if self._elapsed < self._before_expires:
            for (name, labels), amount in self._before.items():
                by_total[COUNTERS[name]].append(ValueSeries(labels, amount))
        return [Family(total.name, "counter", total.help, series) for total, series in by_total.items()]

    def take_minutes(self) -> Iterator[tuple[str, Labels, int, Sketch]]:
        """Name and labels of each latency, the Unix minutes in which something is new since the last call as of the
        last fold, and what; each value is told once, whatever the clock does.
        """
        changed, self._changed = self._changed, {}
        for distribution, (latency, entity) in changed.items():
            if distribution.windows is not None:
                for slot, new in distribution.windows.take_minutes():
                    yield latency.name, entity.labels, slot, new

    def windowed(self, names: Container[str]) -> Iterator[tuple[str, Labels, Windows]]:
        """Name, labels and recent past of each windowed latency among *names*, as of the last fold; only to be read."""
        for entity in self._entities.values():
            for latency, distribution in entity.latencies.items():
                if distribution.windows is not None and latency.name in names:
                    yield latency.name, entity.labels, distribution.windows

    def _by_latency(self) -> dict[Latency, list[tuple[Entity, Distribution]]]:
        by_latency: defaultdict[Latency, list[tuple[Entity, Distribution]]] = defaultdict(list)
        for entity in self._entities.values():
            for latency, distribution in entity.latencies.items():
                by_latency[latency].append((entity, distribution))
        return by_latency

    def _count(self, entity: Entity, total: Total, part: str, amount: float) -> None:
        key = total, part
        known = entity.totals.get(key)
        if known is None:
            known = self._before.pop((total.name, tuple(sorted(_counted_labels(entity, total, part)))), 0)
            if known:
                entity.created = 0.0  # in a former run
        entity.totals[key] = known + amount

    def _corrected(self, durations: Column) -> Column:
        """Clocks step and differ: no duration is negative, and what is odd about the ends is told."""
        values, quanta, minimum, maximum, oldest, newest, largest = durations
        present = self._present()
        if newest > present + FUTURE_QUANTA:
            self.adjusted["future"] += sum(quantum > present + FUTURE_QUANTA for quantum in quanta)
        if oldest < present - OLDEST:
            self.adjusted["late"] += sum(quantum < present - OLDEST for quantum in quanta)
        if minimum < 0:
            self.adjusted["negative_duration"] += sum(value < 0 for value in values)
            values, maximum = array("d", [max(value, 0.0) for value in values]), max(maximum, 0.0)
        return values, quanta, minimum, maximum, oldest, newest, largest

    def _buffer(self, places: Sequence[tuple[Entity, Latency]], column: Column) -> None:
        """Hand values to every place that they belong to; the future counts as now."""
        values, quanta, _, maximum, _, newest, largest = column
        present = self._present()
        if newest > present:
            quanta = array("q", [min(quantum, present) for quantum in quanta])
        exemplar = Exemplar(maximum, largest[1].hex(), largest[2].hex(), largest[5] * 1e-9)
        for entity, family in places:
            distribution = entity.latency(family, self._now)
            distribution.buffer(values, quanta)
            distribution.show(exemplar, self._now)
            self._touched[distribution] = family, entity

    def _present(self) -> int:
        return int(self._now * 1e9) // QUANTUM_NS

    def _new_targets(self, profile: Profile) -> Targets:
        durations: list[tuple[Entity, Latency]] = []
        calls: list[tuple[Entity, Total]] = []
        measures: defaultdict[str, list[tuple[Entity, Latency]]] = defaultdict(list)
        totals: dict[str, tuple[Entity, Total, str]] = {}

        def counted(entity: Entity, duration: Latency, fields: dict[str, Latency], total: Total | None) -> None:
            durations.append((entity, duration))
            for name, latency in fields.items():
                measures[name].append((entity, latency))
            if total:
                calls.append((entity, total))

        if profile.turn:
            labels = (("service", profile.service), ("turn", profile.turn))
            counted(self._entity("turn", labels), TURN_DURATION, TURN_MEASURES, TURNS)
        if profile.stage:
            labels = (("service", profile.service), ("stage", profile.stage))
            counted(self._entity("stage", labels), STAGE_DURATION, {}, STAGES)
            if profile.llm and len(self.llm_stages) < self._max_series:
                self.llm_stages.add((profile.service, profile.stage))
        if profile.llm:
            call = self._entity("llm", _llm_labels(profile))
            counted(call, LLM_DURATION, LLM_MEASURES, LLM_CALLS)
            totals = {name: (call, total, part) for name, (total, part) in LLM_TOTALS.items()}
            if profile.llm.origin == "client":
                counted(self._entity("client", _client_labels(profile)), CLIENT_DURATION, CLIENT_MEASURES, None)
        targets = Targets(durations, calls, dict(measures), totals)
        if len(self._targets) >= MAX_PENDING_PROFILES:
            self._targets.clear()
        self._targets[profile] = targets
        return targets

    def _entity(self, kind: str, labels: Labels) -> Entity:
        entity = self._entities.get((kind, labels))
        if entity is None and len(self._entities) >= self._max_series - 4:  # one overflow set per kind has its place
            self.overflowed[kind] += 1
            labels = OVERFLOW
            entity = self._entities.get((kind, labels))
        if entity is None:
            entity = self._entities[kind, labels] = Entity(labels, self._now, self._elapsed)
        return entity

    def _histogram_family(self, latency: Latency, found: list[tuple[Entity, Distribution]]) -> Family:
        series = [
            HistogramSeries(
                labels=entity.labels,
                count=one.total.count,
                sum=one.total.sum,
                buckets=one.cumulative_buckets(),
                native=one.total.bucket_counts(),
                zero_count=one.total.non_positive_count(),
                exemplar=one.exemplar(self._now),
                created=one.created,
            )
            for entity, one in found
        ]
        return Family(latency.name, "histogram", latency.help, series, "seconds")

    def _window_family(
        self, latency: Latency, found: list[tuple[Entity, Distribution]], horizons: Iterable[str]
    ) -> Family:
        series = []
        for entity, one in found:
            assert one.windows is not None
            one.windows.advance(self._present())
            for horizon, values in one.windows.sliding(QUANTILES, horizons):
                labels = (*entity.labels, ("window", horizon))
                pairs = tuple(zip(QUANTILES, values, strict=True))
                series.append(SummarySeries(labels, one.total.count, one.total.sum, pairs, one.created))
        return Family(latency.window, "summary", f"{latency.help} Quantiles over sliding windows.", series, "seconds")


def joined(parts: Iterable[Family]) -> list[Family]:
    """Families whose series came in parts, each whole."""
    found: dict[str, list[Family]] = {}
    for part in parts:
        found.setdefault(part.name, []).append(part)
    return [
        family if not rest else replace(family, series=[one for part in (family, *rest) for one in part.series])
        for family, *rest in found.values()
    ]


def _counted_labels(entity: Entity, total: Total, part: str) -> Labels:
    return (*entity.labels, (total.label, part)) if total.label else entity.labels


def _value(one: Observation) -> float:
    return one.value


def _told_apart(sums: dict[str, float]) -> dict[str, float]:
    """*sums* with only those retries in `retries` whose reason nobody has told."""
    retries = sums.get("retries")
    if not retries:
        return sums
    known = sum(sums.get(f"retries_{reason}", 0.0) for reason in semconv.RETRY_REASONS)
    return {**sums, "retries": max(retries - known, 0.0)}


def _llm_labels(profile: Profile) -> Labels:
    llm = profile.llm
    assert llm
    return (("service", profile.service), ("provider", llm.provider), ("model", llm.model), ("task", llm.task))


def _client_labels(profile: Profile) -> Labels:
    llm = profile.llm
    assert llm
    return (
        ("service", profile.service),
        ("gen_ai_operation_name", llm.operation),
        ("gen_ai_provider_name", llm.provider),
        ("gen_ai_request_model", llm.model),
        ("error_type", llm.error_type),
    )
