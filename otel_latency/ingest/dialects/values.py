"""Attribute values into fields: units, timestamps and JSON in text. What cannot be read or believed yields nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from otel_latency.ingest.dialects.dialect import Source, Unit
from otel_latency.ingest.dialects.fields import is_plausible
from otel_latency.ingest.text import NAME_LIMIT, clean

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64 = 1 << 63


def read(source: Source, value: object, stage: str, start_ns: int) -> Iterator[tuple[str, float | str]]:
    """The (field, value) pairs that *value* gives in a span of *stage* that began at *start_ns*."""
    if source.unit is Unit.TEXT:
        if known := plain_text(value):
            yield source.target, known
        return
    for name, number in _numbers(source, value, stage, start_ns):
        if number is not None and is_plausible(name, number):
            yield name, number


def plain_text(value: object) -> str:
    """A scalar attribute as a short clean text, without the quotes that JSON-minded tools leave around it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value), NAME_LIMIT).strip(' "')


def _numbers(source: Source, value: object, stage: str, start_ns: int) -> Iterable[tuple[str, float | None]]:
    match source.unit:
        case Unit.MILLISECONDS:
            milliseconds = _number(value)
            return [(source.target, None if milliseconds is None else milliseconds / 1000)]
        case Unit.TIMESTAMP:
            return [(source.target, _seconds_since(start_ns, value))]
        case Unit.STAGE_SECONDS:
            return [(source.targets[stage], _number(value))] if stage in source.targets else []
        case Unit.JSON:
            record = _object(value)
            return [(name, _at(record, path)) for path, name in source.targets.items()]
        case Unit.JSON_COST:
            return [(source.target, _cost(_object(value)))]
        case _:
            return [(source.target, _number(value))]


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _INT64 or isinstance(value, float) else None


def _seconds_since(start_ns: int, value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(plain_text(value))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return ((moment - _EPOCH) // _MICROSECOND * 1000 - start_ns) * 1e-9


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, str):
        return {}
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _at(record: dict[str, object], path: str) -> float | None:
    found: object = record
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return _number(found)


def _cost(by_type: dict[str, object]) -> float | None:
    prices = {name: price for name, value in by_type.items() if (price := _number(value)) is not None}
    for total in ("total", "total_cost"):
        if total in prices:
            return prices[total]
    return sum(prices.values()) if prices else None
