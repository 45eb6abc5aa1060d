"""What may be shown: families and series that every scraper reads, whatever their names were made of.

Metrics received over OTLP bring names, labels and numbers of others to the page. One that breaks the format would
cost the scraper the whole page, so it is left out and counted. Where two families claim the same sample name the
first one keeps it: list your own before those of others.

Cost, measured: 0.5 us for a value, 1 us for a summary, 2.5 us for a histogram of 14 buckets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite, isnan
from typing import NamedTuple

from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries, ValueSeries

Series = HistogramSeries | SummarySeries | ValueSeries

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

_SHAPES: dict[str, type[Series]] = {
    "counter": ValueSeries,
    "gauge": ValueSeries,
    "untyped": ValueSeries,
    "histogram": HistogramSeries,
    "summary": SummarySeries,
}
_RESERVED_LABEL = {"histogram": "le", "summary": "quantile"}
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "summary": ("_sum", "_count", "_created"),
}


_EXEMPLAR_LABELS_MAX = 128
"""Characters that OpenMetrics allows an exemplar's labels to have, names and values together."""


class Shown(NamedTuple):
    """The families that may be shown, and how many series were left out."""

    families: list[Family]
    hidden: int


def legal(families: Iterable[Family]) -> Shown:
    """Keep what every format can carry; a family keeps its place and loses only its illegal series."""
    shown: list[Family] = []
    hidden = 0
    claimed: set[str] = set()
    for family in families:
        names = _sample_names(family)
        if not names or not claimed.isdisjoint(names):
            hidden += len(family.series)
            continue
        claimed |= names
        series = _legal_series(family)
        hidden += len(family.series) - len(series)
        shown.append(family if len(series) == len(family.series) else replace(family, series=series))
    return Shown(shown, hidden)


def base_name(family: Family) -> str:
    """The family's name in OpenMetrics, where a counter is called without its `_total`."""
    return family.name.removesuffix("_total") if family.type == "counter" else family.name


def unit_of(family: Family) -> str:
    """The unit, if the name ends in it as OpenMetrics demands; else nothing."""
    return family.unit if family.unit and base_name(family).endswith("_" + family.unit) else ""


def is_legal_exemplar(exemplar: Exemplar) -> bool:
    """Whether its ids look like ids and its figures are figures; a series is shown without one that is not."""
    ids = exemplar.trace_id + exemplar.span_id
    is_short = len("trace_id" + "span_id" + ids) <= _EXEMPLAR_LABELS_MAX
    return is_short and ids.isascii() and ids.isalnum() and isfinite(exemplar.value) and isfinite(exemplar.time)


def _sample_names(family: Family) -> set[str]:
    """Every name that the family's samples may have, in any format; none when the family itself is illegal."""
    base = base_name(family)
    is_counter_misnamed = family.type == "counter" and not family.name.endswith("_total")
    if family.type not in _SHAPES or is_counter_misnamed or not _NAME.fullmatch(base):
        return set()
    return {base, *(base + suffix for suffix in _SUFFIXES.get(family.type, ()))}


def _legal_series(family: Family) -> Sequence[Series]:
    shape = _SHAPES[family.type]
    reserved = _RESERVED_LABEL.get(family.type, "")
    is_counter = family.type == "counter"
    shown: dict[object, Series] = {}
    for series in family.series:
        names = tuple([name for name, _ in series.labels])
        if (
            isinstance(series, shape)
            and _are_label_names(names, reserved)
            and _are_numbers(series, is_counter=is_counter)
        ):
            shown.setdefault(series.labels, series)
    return family.series if len(shown) == len(family.series) else list(shown.values())


@lru_cache(maxsize=1024)
def _are_label_names(names: tuple[str, ...], reserved: str) -> bool:
    are_distinct = len(set(names)) == len(names) and reserved not in names
    return are_distinct and all(_LABEL.fullmatch(name) for name in names)


def _are_numbers(series: Series, *, is_counter: bool) -> bool:
    """Whether the figures agree with each other; a scraper may refuse a page where they do not."""
    if isinstance(series, ValueSeries):
        return not is_counter or series.value >= 0
    if isnan(series.sum) or series.count < 0:
        return False
    if isinstance(series, SummarySeries):
        return all(0 <= quantile <= 1 for quantile, _ in series.quantiles)
    return _are_buckets(series)


def _are_buckets(series: HistogramSeries) -> bool:
    """Finite bounds that rise, counts that do not fall."""
    if not series.buckets:
        return True
    bounds, counts = zip(*series.buckets, strict=True)
    rising = list(bounds) == sorted(set(bounds)) and isfinite(bounds[0]) and isfinite(bounds[-1])
    return rising and counts[0] >= 0 and list(counts) == sorted(counts) and counts[-1] <= series.count
