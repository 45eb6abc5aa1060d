"""What a scraper asked for: the `Accept` and `Accept-Encoding` headers, with their weights.

The highest weight wins, among equals the first one named. A scraper that accepts none of our formats gets text, as
from any exporter: a page that may be unreadable beats a status that hides it. `escaping=` and `charset=` are
ignored, for our names need no escaping and our text is UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple


class Format(Enum):
    """A format of the metrics page."""

    TEXT = "text"
    OPENMETRICS = "openmetrics"
    PROTOBUF = "protobuf"


class _Choice(NamedTuple):
    """One element of a header: `text/plain;version=0.0.4;q=0.5`."""

    value: str
    parameters: dict[str, str]
    weight: float


def choose_format(accept: str) -> Format:
    """The format for an `Accept` header; an empty one means text."""
    for choice in _by_weight(accept):
        found = _format_of(choice)
        if found is not None:
            return found
    return Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the answer may be compressed. `gzip;q=0` says no even beside a `*`."""
    weights = {choice.value: choice.weight for choice in _choices(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _format_of(choice: _Choice) -> Format | None:
    version = choice.parameters.get("version")
    match choice.value:
        case "text/plain" if version in {None, "0.0.4"}:
            return Format.TEXT
        case "text/*" | "*/*":
            return Format.TEXT
        case "application/openmetrics-text" if version in {None, "1.0.0"}:
            return Format.OPENMETRICS
        case "application/vnd.google.protobuf" if _is_delimited_families(choice.parameters):
            return Format.PROTOBUF
    return None


def _is_delimited_families(parameters: dict[str, str]) -> bool:
    is_family = parameters.get("proto") == "io.prometheus.client.MetricFamily"
    return is_family and parameters.get("encoding") == "delimited"


def _by_weight(header: str) -> list[_Choice]:
    acceptable = [choice for choice in _choices(header) if choice.weight > 0]
    return sorted(acceptable, key=lambda choice: -choice.weight)


def _choices(header: str) -> Iterator[_Choice]:
    for element in header.split(","):
        value, *rest = [part.strip() for part in element.split(";")]
        pairs = [part.partition("=") for part in rest]
        parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
        yield _Choice(value.lower(), parameters, _weight(parameters.get("q", "1")))


def _weight(text: str) -> float:
    """A weight of 0 to 1; what is not one counts as not acceptable."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
