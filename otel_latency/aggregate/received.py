"""Metrics received over OTLP, kept as the families that /metrics shows under their Prometheus names.

A series is what one set of labels names: `service`, `service_instance_id` where the sender has one, and the point's own
attributes. (Not `job` and `instance`, which Prometheus' own OTLP receiver writes: a scrape of us has those already, and
`service` is what all our other families carry.) Counters and histograms run on over restarts of their senders, and
deltas are added up; a duplicate or older point changes nothing. Gauges show the latest value by the sender's time.

Beyond `max_series`, or with labels longer than `MAX_LABEL_TEXT`, a counter or histogram counts in its family's one
overflow series, exactly; a gauge or summary, for which a sum means nothing, is dropped. A series without news for
`expire_after` seconds is forgotten, and so is one whose sender says that it ended.

Cost: about 10 us a point, 3 us a series shown. Memory: some 1 KiB a series, 2 KiB with a histogram; `max_series` of
them, at the very most as many overflow series, and twice as many streams in those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, NamedTuple

from otel_latency.aggregate.aggregator import OVERFLOW
from otel_latency.aggregate.naming import label_value, labels, metric_name
from otel_latency.aggregate.totals import Total, classic_bounds, finite_sum, total_of
from otel_latency.records import Family, Labels, MetricKind, MetricPoint, Resource, ValueSeries

RESERVED: Final = ("otel_latency_", "ALERTS")
"""What the names begin with that nobody else may use. (The GenAI families that we make from spans are not among them:
an application may send those as metrics and no spans at all. Where both come, the page shows ours.)"""

FROM_THE_LIBRARY: Final = ("otel_latency_audio_", "otel_latency_connection_", "otel_latency_circuit_state")
"""Reserved names that may come in: our own library measures these in the application and sends them as metrics."""

MAX_LABEL_TEXT: Final = 4096
"""Characters of all names and values of one series together."""

_INSTANCE: Final = "service.instance.id"
_RESERVED_LABELS: Final = frozenset({"le", "quantile", "service", "service_instance_id", OVERFLOW[0][0]})
_SUFFIXES: Final = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
}


class _Dropped(Exception):
    """A point is not counted; the text is the reason."""


def _refuse(condition: bool, reason: str) -> None:
    if condition:
        raise _Dropped(reason)


@dataclass(slots=True)
class _Stream:
    """What one sender has said about a series: the last point's times and the total since its start."""

    start_ns: int
    time_ns: int
    total: Total
    seen: float


@dataclass(slots=True)
class _Sum:
    """A series that counts: what its streams have, and `base`, the part whose streams are gone or began again."""

    created: float
    seen: float
    base: Total | None = None
    streams: dict[int, _Stream] = field(default_factory=dict)

    def total(self) -> Total:
        parts = [stream.total for stream in self.streams.values()]
        return reduce(lambda a, b: a.plus(b), parts if self.base is None else [self.base, *parts])

    def add(self, point: MetricPoint, key: int, now: float, *, starts_over: bool) -> None:
        """Take a point of stream *key*. With *starts_over* a restarted sender's new bounds replace the old ones."""
        total = total_of(point)
        stream = self.streams.get(key)
        if stream is not None:
            _refuse(0 < point.time_ns <= stream.time_ns and point.start_ns <= stream.start_ns, "duplicate")
            has_new_shape = not total.is_shaped_like(stream.total)
            if has_new_shape and starts_over:
                self.base, self.created = None, point.start_ns / 1e9
            elif point.is_delta and not has_new_shape:
                total = stream.total.plus(total)
            elif point.is_delta or 0 < stream.start_ns < point.start_ns or not total.follows(stream.total):
                self.keep(stream.total)
        self.streams[key] = _Stream(point.start_ns, point.time_ns, total, now)
        self.seen = now

    def keep(self, total: Total) -> None:
        """Count *total* for good, apart from any stream."""
        self.base = total if self.base is None else self.base.plus(total)

    def forget_streams(self, before: float) -> int:
        """Keep what silent streams counted, but not the streams; returns how many they were."""
        gone = [key for key, stream in self.streams.items() if stream.seen < before]
        for key in gone:
            self.keep(self.streams.pop(key).total)
        return len(gone)


@dataclass(slots=True)
class _Gauge:
    """A series that shows its latest value, or for deltas their sum."""

    value: float
    time_ns: int
    seen: float

    def add(self, point: MetricPoint, now: float) -> None:
        is_older = point.time_ns <= self.time_ns if point.is_delta else point.time_ns < self.time_ns
        _refuse(is_older and point.time_ns > 0, "duplicate")
        self.value = finite_sum(self.value, point.value) if point.is_delta else point.value
        self.time_ns = point.time_ns
        self.seen = now


@dataclass(slots=True)
class _Family:
    """All series of one name. Its `form` is its type, but that a histogram can be exponential."""

    name: str
    form: str
    unit: str
    help: str
    sums: dict[Labels, _Sum] = field(default_factory=dict)
    gauges: dict[Labels, _Gauge] = field(default_factory=dict)
    overflow: _Sum | None = None

    @property
    def type(self) -> str:
        return "histogram" if self.form == "exponential" else self.form

    def claims(self) -> Iterator[str]:
        """Every name that this family puts on the page, in any format."""
        stem = self.name.removesuffix("_total") if self.form == "counter" else self.name
        yield from (stem + suffix for suffix in _SUFFIXES[self.type])

    def shown(self) -> Family:
        sums = [(shown, series.created, series.total()) for shown, series in self.sums.items()]
        if self.overflow:
            sums.append((OVERFLOW, self.overflow.created, self.overflow.total()))
        bounds = classic_bounds(total for *_, total in sums)
        series = [total.series(shown, created, bounds) for shown, created, total in sums]
        values = [ValueSeries(shown, gauge.value) for shown, gauge in self.gauges.items()]
        return Family(self.name, self.type, self.help, [*series, *values], self.unit)

    def silent(self, before: float) -> list[Labels]:
        """Labels of the series that had no news since *before*."""
        every: list[tuple[Labels, _Sum | _Gauge]] = [*self.sums.items(), *self.gauges.items()]
        return [shown for shown, series in every if series.seen < before]


class _Sender(NamedTuple):
    """What is worked out once per resource of a request; holding the resource keeps its `id` its own."""

    resource: Resource
    identity: int
    labels: tuple[tuple[str, str], ...]


class ReceivedMetrics:
    """Takes data points in and gives metric families out."""

    def __init__(
        self, max_series: int = 2000, expire_after: float = 900.0, *, reserved: tuple[str, ...] = RESERVED
    ) -> None:
        self._max_series = max_series
        self._expire_after = expire_after
        self._reserved = reserved
        self._families: dict[str, _Family] = {}
        self._claimed: dict[str, str] = {}
        self._series = 0
        self._overflow_streams = 0
        self.dropped: Counter[str] = Counter()
        """Points not shown, by reason: `type_conflict`, `name_conflict`, `reserved_name`, `invalid_name`, `overflow`,
        `duplicate`."""
        self.overflowed: Counter[str] = Counter()
        """Points counted in an overflow series, by type of family."""

    @property
    def series(self) -> int:
        """Series held, overflow included."""
        return self._series + sum(family.overflow is not None for family in self._families.values())

    def add(self, points: Iterable[MetricPoint], now: float) -> None:
        """Take data points in the order they were sent; *now* is Unix seconds."""
        senders: dict[int, _Sender] = {}
        for point in points:
            sender = senders.get(id(point.resource))
            if sender is None:
                sender = senders[id(point.resource)] = _sender(point.resource)
            try:
                self._take(point, sender, now)
            except _Dropped as reason:
                self.dropped[str(reason)] += 1

    def families(self, now: float) -> list[Family]:
        """Every family that has a series."""
        self.expire(now)
        return [family.shown() for family in self._families.values()]

    def expire(self, now: float) -> None:
        """Forget what had no news for `expire_after` seconds.

        Where several streams share a series, only the total of a silent one is kept: should it come back, it counts
        again from its start.
        """
        before = now - self._expire_after
        for family in list(self._families.values()):
            for shown in family.silent(before):
                self._forget(family, shown)
            for series in family.sums.values():
                series.forget_streams(before)
            if family.overflow:
                self._overflow_streams -= family.overflow.forget_streams(before)
                if family.overflow.seen < before:
                    family.overflow = None
            if not (family.sums or family.gauges or family.overflow):
                del self._families[family.name]
                for name in family.claims():
                    del self._claimed[name]

    def _take(self, point: MetricPoint, sender: _Sender, now: float) -> None:
        family = self._family(point)
        shown = labels(sender.labels, point.attributes, _RESERVED_LABELS)
        if point.no_recorded_value:
            self._forget(family, shown)
        elif family.form == "gauge":
            self._set(family, shown, point, now)
        else:
            self._count(family, shown, point, hash((sender.identity, point.name, shown)), now)

    def _family(self, point: MetricPoint) -> _Family:
        name, unit = metric_name(point.name, point.unit, point.kind, is_monotonic=point.is_monotonic)
        form = _form(point)
        family = self._families.get(name)
        if family is not None:
            _refuse(family.form != form, "type_conflict")
            return family
        _refuse(not name, "invalid_name")
        _refuse(name.startswith(self._reserved) and not name.startswith(FROM_THE_LIBRARY), "reserved_name")
        _refuse(len(self._families) >= self._max_series, "overflow")
        family = _Family(name, form, unit, point.description or "Received over OTLP.")
        claims = list(family.claims())
        _refuse(any(claim in self._claimed for claim in claims), "name_conflict")
        self._claimed.update(dict.fromkeys(claims, name))
        self._families[name] = family
        return family

    def _set(self, family: _Family, shown: Labels, point: MetricPoint, now: float) -> None:
        gauge = family.gauges.get(shown)
        if gauge is not None:
            gauge.add(point, now)
            return
        _refuse(not self._has_room(shown), "overflow")
        family.gauges[shown] = _Gauge(point.value, point.time_ns, now)
        self._series += 1

    def _count(self, family: _Family, shown: Labels, point: MetricPoint, stream: int, now: float) -> None:
        series = family.sums.get(shown)
        if series is None and not self._has_room(shown):
            _refuse(family.form == "summary", "overflow")
            self._count_overflow(family, point, stream, now)
            return
        if series is None:
            series = family.sums[shown] = _Sum(point.start_ns / 1e9, now)
            self._series += 1
        series.add(point, stream, now, starts_over=len(series.streams) == 1)

    def _count_overflow(self, family: _Family, point: MetricPoint, stream: int, now: float) -> None:
        series = family.overflow or _Sum(now, now)
        if point.is_delta:
            series.keep(total_of(point))
            series.seen = now
        else:
            # A cumulative stream that is not known again would be counted from its start each time.
            is_new = stream not in series.streams
            _refuse(is_new and self._overflow_streams >= 2 * self._max_series, "overflow")
            series.add(point, stream, now, starts_over=False)
            self._overflow_streams += is_new
        family.overflow = series
        self.overflowed[family.type] += 1

    def _has_room(self, shown: Labels) -> bool:
        size = sum(len(name) + len(value) for name, value in shown)
        return self._series < self._max_series and size <= MAX_LABEL_TEXT

    def _forget(self, family: _Family, shown: Labels) -> None:
        held: dict[Labels, Any] = family.gauges if family.form == "gauge" else family.sums
        if held.pop(shown, None) is not None:
            self._series -= 1


def _form(point: MetricPoint) -> str:
    if point.kind is MetricKind.SUM:
        return "counter" if point.is_monotonic else "gauge"
    return "exponential" if point.kind is MetricKind.EXPONENTIAL_HISTOGRAM else point.kind.value


def _sender(resource: Resource) -> _Sender:
    described = sorted((key, label_value(value)) for key, value in resource.attributes.items())
    identity = hash((resource.service, resource.scope_name, *described))
    instance = label_value(resource.attributes.get(_INSTANCE))
    return _Sender(resource, identity, (("service", resource.service), ("service_instance_id", instance)))
