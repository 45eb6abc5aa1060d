"""Values that a span can carry. What cannot is left out and counted; it is never turned into text.

Text of a user's object may be expensive, may lock, and may be what nobody meant to send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from opentelemetry.util.types import AttributeValue

from otel_latency.instrument.guard import guard

_SCALARS: Final = (str, bool, int, float)
MAX_ITEMS: Final = 128


def carried(attributes: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Those of *attributes* that have a scalar value, or a list of scalars of one type. None says nothing."""
    kept: dict[str, AttributeValue] = {}
    for key, value in attributes.items():
        if isinstance(value, _SCALARS) or _is_list(value):
            kept[key] = cast("AttributeValue", value)
        elif value is not None:
            guard.complain("attribute", "an attribute was left out: values are text, numbers, booleans or lists")
    return kept


def seconds(value: object) -> float | None:
    """A budget or timeout; None where *value* is not a number."""
    if isinstance(value, int | float):
        return float(value)
    if value is not None:
        guard.complain("seconds", "a budget or timeout was ignored: it is a number of seconds")
    return None


def _is_list(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS:
        return False
    items: Sequence[object] = value
    return all(isinstance(item, _SCALARS) and type(item) is type(items[0]) for item in items)
