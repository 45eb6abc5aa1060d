"""From metric families to series, one sample each: what a Prometheus that scrapes /metrics would have stored.

The text model is followed to the letter, never the families' inside: a histogram is its `_bucket`, `_sum` and
`_count`, a bound is spelled as in the page, and a series that is shown no longer ends with a stale marker. Target
labels are added as Prometheus adds them, with `exported_` before a label of the same name, and so is `up`.

A counter that was born since the last sample gets a zero at that sample, since `rate` would miss its first increment;
Prometheus does so where it takes created timestamps in.

Cost: 0.4 us per sample that a rule can ask for, 0.3 us per series that none does.
Memory: a line of references per series shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from prometheus_client.utils import floatToGoString

from otel_latency.records import Family, HistogramSeries, Labels, SummarySeries, ValueSeries
from otel_latency.rules.promql.labels import canonical
from otel_latency.rules.promql.nodes import METRIC_NAME
from otel_latency.rules.series import Series, SeriesTable

Shown: TypeAlias = HistogramSeries | SummarySeries | ValueSeries
_Key: TypeAlias = tuple[str, Labels, tuple[float, ...]]
_Columns: TypeAlias = Sequence[tuple[int, Series]]
"""Where the figures of a series as shown go: the place of the figure, and the column; none for those not asked for."""


AsksFor = Callable[[str], bool]
"""Whether any series of a name is asked for."""


class Sampler:
    """Writes samples into *table*; *target_labels* are those of the scrape target that the agent stands for."""

    def __init__(self, table: SeriesTable, asks_for: AsksFor, target_labels: Mapping[str, str]) -> None:
        self._table = table
        self._asks_for = asks_for
        self._target = dict(target_labels)
        self._columns: dict[_Key, _Columns] = {}
        self._left: Sequence[Series] = ()
        self._sampled_ms: int | None = None

    def sample(self, families: Iterable[Family], at_ms: int) -> None:
        """Take every figure of *families*, which are legal and whose names are distinct, at *at_ms*."""
        before, self._columns = self._columns, {}
        for family in families:
            if any(map(self._asks_for, _sample_names(family))):
                self._sample(family, at_ms, before)
        for series in (*self._left, *_series(before)):  # what has a sample of this moment does not end at it
            series.end(at_ms)
        self._left = ()
        self._table.append(canonical({METRIC_NAME: "up", **self._target}), at_ms, 1.0)
        self._sampled_ms = at_ms

    def retain(self, asks_for: AsksFor) -> None:
        """Rules ask for other series from now on."""
        self._asks_for = asks_for
        self._left = (*self._left, *_series(self._columns))
        self._columns = {}

    def shift(self, by_ms: int) -> None:
        """The clock was set, and every time with it."""
        if self._sampled_ms is not None:
            self._sampled_ms += by_ms

    def _sample(self, family: Family, at_ms: int, before: dict[_Key, _Columns]) -> None:
        name, columns_by_key = family.name, self._columns
        for shown in family.series:
            key = (name, shown.labels, _bounds(shown))
            columns = before.pop(key, None)
            if columns is None:
                columns = self._open(family, shown)
                if columns and family.type in ("counter", "histogram"):
                    self._begin(columns, shown)
            columns_by_key[key] = columns
            if columns:
                figures = _figures(shown)
                for place, series in columns:
                    series.append(at_ms, figures[place])

    def _begin(self, columns: _Columns, shown: Shown) -> None:
        """Start a counter that is younger than the last sample at zero."""
        if self._sampled_ms is not None and shown.created * 1000 > self._sampled_ms:
            for _, series in columns:
                series.append(self._sampled_ms, 0.0)

    def _open(self, family: Family, shown: Shown) -> _Columns:
        target = self._target
        labels = {f"exported_{name}" if name in target else name: value for name, value in shown.labels} | target
        columns = []
        for place, (name, own) in enumerate(_samples(family.name, shown)):
            series = self._table.open(canonical({METRIC_NAME: name, **labels, **own}))
            if series is not None:
                columns.append((place, series))
        return columns


def _series(columns: Mapping[_Key, _Columns]) -> Iterator[Series]:
    return (series for places in columns.values() for _, series in places)


def _sample_names(family: Family) -> Sequence[str]:
    name = family.name
    if family.type == "histogram":
        return f"{name}_bucket", f"{name}_sum", f"{name}_count"
    if family.type == "summary":
        return name, f"{name}_sum", f"{name}_count"
    return (name,)


def _samples(name: str, shown: Shown) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and own label of each sample of a series, in the order of `_figures`."""
    if isinstance(shown, ValueSeries):
        yield name, {}
        return
    if isinstance(shown, HistogramSeries):
        for bound in (*_bounds(shown), float("inf")):
            yield f"{name}_bucket", {"le": _spelled(bound)}
    else:
        for quantile in _bounds(shown):
            yield name, {"quantile": _spelled(quantile)}
    yield f"{name}_sum", {}
    yield f"{name}_count", {}


def _figures(shown: Shown) -> Sequence[float]:
    if isinstance(shown, ValueSeries):
        return (shown.value,)
    if isinstance(shown, HistogramSeries):
        return [*[count for _, count in shown.buckets], shown.count, shown.sum, shown.count]
    return [*[value for _, value in shown.quantiles], shown.sum, shown.count]


def _bounds(shown: Shown) -> tuple[float, ...]:
    """What tells the samples of a series apart; other bounds make other series."""
    if isinstance(shown, ValueSeries):
        return ()
    pairs = shown.buckets if isinstance(shown, HistogramSeries) else shown.quantiles
    return tuple([bound for bound, _ in pairs])


def _spelled(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
