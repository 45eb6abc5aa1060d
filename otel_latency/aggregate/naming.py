"""OpenTelemetry's names in Prometheus' words: metric names with unit suffixes, label names, label values.

The rules are those that Prometheus itself applies to OTLP (prometheus/otlptranslator, with suffixes and without UTF-8
names), so a metric is called the same whether it came through us or straight into Prometheus. Two names that become one
label have their values joined by `;`, in the order of the original names.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from otel_latency.records import Labels, MetricKind

_UNITS: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER_UNITS: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_NOT_IN_METRIC_NAMES = re.compile("[^a-zA-Z0-9:]+")
_NOT_IN_LABEL_NAMES = re.compile("[^a-zA-Z0-9]+")


@lru_cache(maxsize=4096)
def metric_name(name: str, unit: str, kind: MetricKind, *, is_monotonic: bool) -> tuple[str, str]:
    """The Prometheus name and its unit part; both empty when nothing of *name* can stay.

    The unit is empty where the name does not end in it (before `_total`), as OpenMetrics asks.
    """
    words = [word for word in _NOT_IN_METRIC_NAMES.split(name) if word]
    if not words:
        return "", ""
    suffixes: tuple[str, ...] = unit_words(unit)
    words += [suffix for suffix in suffixes if suffix and suffix not in words]
    if kind is MetricKind.GAUGE and unit == "1":
        suffixes = ("ratio",)
        words = [*(word for word in words if word != "ratio"), "ratio"]
    is_counter = kind is MetricKind.SUM and is_monotonic
    if is_counter:
        words = [word for word in words if word != "total"]
        if not words:
            return "", ""
    stem = "_".join(words)
    shown_unit = "_".join(filter(None, suffixes))
    if not stem.endswith(f"_{shown_unit}"):
        shown_unit = ""
    full = "_".join(filter(None, (stem, "total" if is_counter else "")))
    return (f"_{full}" if full[0].isdigit() else full), shown_unit


def unit_words(unit: str) -> tuple[str, str]:
    """`("bytes", "per_second")` for `By/s`; either is empty where the unit has no such part or an annotation there."""
    main, _, per = (part.strip() for part in unit.partition("/"))
    main = "" if _is_annotation(main) else _word(_UNITS.get(main, main))
    per = "" if _is_annotation(per) else _word(_PER_UNITS.get(per, per))
    return main, f"per_{per}" if per else ""


def _is_annotation(unit: str) -> bool:
    return "{" in unit or "}" in unit


def _word(text: str) -> str:
    return _NOT_IN_LABEL_NAMES.sub("_", text).strip("_")


@lru_cache(maxsize=4096)
def label_name(attribute: str) -> str:
    """A legal label name; never one that starts with `__`, which Prometheus keeps to itself."""
    name = _NOT_IN_LABEL_NAMES.sub("_", attribute)
    if name[:1].isdigit():
        return f"key_{name}"
    return f"key{name}" if name.startswith("_") else name


def label_value(value: object) -> str:
    """An attribute's value as text: what is no scalar becomes JSON, bytes become base64."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float) else msgspec.json.encode(value).decode()


def labels(own: Iterable[tuple[str, str]], attributes: Mapping[str, object], reserved: Collection[str]) -> Labels:
    """*own* and then the attributes by name. One that would take a name of *own* or *reserved* is `exported_…`.

    Empty values are left out: to Prometheus they are the same as no label.
    """
    first = [pair for pair in own if pair[1]]
    taken = {*reserved, *(name for name, _ in first)}
    values: defaultdict[str, list[str]] = defaultdict(list)
    for attribute in sorted(attributes):
        name = label_name(attribute)
        value = label_value(attributes[attribute])
        if name and value:
            values[f"exported_{name}" if name in taken else name].append(value)
    return (*first, *sorted((name, ";".join(found)) for name, found in values.items()))
