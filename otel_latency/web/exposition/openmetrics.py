"""OpenMetrics 1.0.0: the text format plus exemplars, creation times and units.

It forbids what the text format allows: a sum or a quantile below zero. Such a series keeps the part that may be
shown, a histogram its buckets and a summary its count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from otel_latency.records import Exemplar, Family, HistogramSeries, SummarySeries
from otel_latency.web.exposition.legal import Series, base_name, is_legal_exemplar, unit_of
from otel_latency.web.exposition.text import Templates, bounds_and_counts, escape, lines, number

_WITH_CREATED = ("counter", "histogram", "summary")


class OpenMetrics:
    """Renders pages of OpenMetrics."""

    content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def __init__(self) -> None:
        self._templates = Templates()

    def render(self, families: Iterable[Family]) -> bytes:
        """One page of *families*, which `legal` let through."""
        templates = self._templates
        page = bytearray()
        for family in families:
            base = base_name(family)
            page += _metadata(family, base).encode()
            for series in family.series:
                page += _lines(family.name, series, templates).encode()
                if series.created > 0 and family.type in _WITH_CREATED:
                    page += (templates.value(base + "_created", series.labels) % number(series.created)).encode()
        page += b"# EOF\n"
        templates.turn_page()
        return bytes(page)


def _metadata(family: Family, base: str) -> str:
    kind = "unknown" if family.type == "untyped" else family.type
    unit, text = unit_of(family), family.help
    return (
        f"# TYPE {base} {kind}\n"
        + (f"# UNIT {base} {unit}\n" if unit else "")
        + (f"# HELP {base} {escape(text)}\n" if text else "")
    )


def _lines(name: str, series: Series, templates: Templates) -> str:
    if isinstance(series, HistogramSeries):
        return _histogram(name, series, templates)
    if isinstance(series, SummarySeries) and (series.sum < 0 or any(value < 0 for _, value in series.quantiles)):
        return templates.value(name + "_count", series.labels) % series.count
    return lines(name, series, templates)


def _histogram(name: str, series: HistogramSeries, templates: Templates) -> str:
    bounds, counts = bounds_and_counts(series)
    slots: list[object] = [*counts, series.count]
    exemplar = series.exemplar
    if exemplar is not None and is_legal_exemplar(exemplar):
        place = bisect_left(bounds, exemplar.value)
        slots[place] = f"{slots[place]} # {_exemplar(exemplar)}"
    filled = templates.histogram(name, series.labels, bounds) % (*slots, number(series.sum), series.count)
    if series.sum < 0 or (bounds and bounds[0] < 0):
        return "".join(filled.splitlines(keepends=True)[: len(slots)])
    return filled


def _exemplar(exemplar: Exemplar) -> str:
    labels = f'{{trace_id="{exemplar.trace_id}",span_id="{exemplar.span_id}"}}'
    return f"{labels} {exemplar.value} {exemplar.time:.3f}"
