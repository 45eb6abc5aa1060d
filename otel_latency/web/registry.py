"""prometheus_client's metrics as our families, so that one renderer serves them all.

The agent's own figures live in a prometheus_client registry of its own, never in the global one. Types that our
records do not know keep their samples: an info or a state set is a gauge, as in Prometheus' text format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isinf

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample

from otel_latency.records import Family, HistogramSeries, Labels, SummarySeries, ValueSeries

_VALUE_TYPES = {
    "counter": ("counter", "_total"),
    "gauge": ("gauge", ""),
    "info": ("gauge", "_info"),
    "stateset": ("gauge", ""),
    "unknown": ("untyped", ""),
}


def families(registry: CollectorRegistry) -> Iterator[Family]:
    """What *registry* collects now. A gauge histogram has no counterpart and is passed over."""
    for metric in registry.collect():
        if metric.type == "histogram":
            yield Family(metric.name, "histogram", metric.documentation, list(_histograms(metric)), metric.unit)
        elif metric.type == "summary":
            yield Family(metric.name, "summary", metric.documentation, list(_summaries(metric)), metric.unit)
        elif metric.type in _VALUE_TYPES:
            kind, suffix = _VALUE_TYPES[metric.type]
            name = metric.name + suffix
            yield Family(name, kind, metric.documentation, list(_values(metric, name)), metric.unit)


def _values(metric: Metric, name: str) -> Iterator[ValueSeries]:
    created = _by_labels(metric.samples, metric.name + "_created")
    for labels, sample in _by_labels(metric.samples, name).items():
        yield ValueSeries(labels, sample.value, created[labels].value if labels in created else 0.0)


def _histograms(metric: Metric) -> Iterator[HistogramSeries]:
    sums = _by_labels(metric.samples, metric.name + "_sum")
    created = _by_labels(metric.samples, metric.name + "_created")
    buckets = _by_labels_and(metric.samples, metric.name + "_bucket", "le")
    for labels, sample in _by_labels(metric.samples, metric.name + "_count").items():
        classic = [(bound, int(value)) for bound, value in buckets.get(labels, ()) if not isinf(bound)]
        since = created[labels].value if labels in created else 0.0
        yield HistogramSeries(labels, int(sample.value), sums[labels].value, classic, created=since)


def _summaries(metric: Metric) -> Iterator[SummarySeries]:
    sums = _by_labels(metric.samples, metric.name + "_sum")
    created = _by_labels(metric.samples, metric.name + "_created")
    quantiles = _by_labels_and(metric.samples, metric.name, "quantile")
    for labels, sample in _by_labels(metric.samples, metric.name + "_count").items():
        since = created[labels].value if labels in created else 0.0
        yield SummarySeries(labels, int(sample.value), sums[labels].value, quantiles.get(labels, ()), since)


def _by_labels(samples: Iterable[Sample], name: str) -> dict[Labels, Sample]:
    return {_labels(sample.labels): sample for sample in samples if sample.name == name}


def _by_labels_and(samples: Iterable[Sample], name: str, key: str) -> dict[Labels, list[tuple[float, float]]]:
    """Samples called *name*, by their labels without *key*: what *key* said (a number) and the value."""
    found: dict[Labels, list[tuple[float, float]]] = {}
    for sample in samples:
        if sample.name == name:
            labels = {label: value for label, value in sample.labels.items() if label != key}
            found.setdefault(_labels(labels), []).append((float(sample.labels[key]), sample.value))
    return found


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(labels.items())
