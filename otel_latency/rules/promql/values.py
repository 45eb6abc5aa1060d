"""What an expression yields, and the version of Prometheus whose arithmetic is followed."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from otel_latency.records import Labels


class Element(NamedTuple):
    """One member of an instant vector; `labels` are sorted by name and hold the metric's name where there is one."""

    labels: Labels
    value: float


Vector: TypeAlias = list[Element]

Value: TypeAlias = float | str | Vector
"""A scalar, a string, or an instant vector."""

Semantics: TypeAlias = Literal[2, 3]
"""The major version of Prometheus: 3 has windows open on the left, 2 has closed ones."""
