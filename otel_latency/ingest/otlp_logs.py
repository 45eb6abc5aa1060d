"""Reports about running operations out of an OTLP logs request; other log records are only counted.

Our instrumentation sends a log record when an operation starts, makes progress, is late or ends, because a span leaves
only when it has ended. A record is ours by its event name (the field, or the older attribute `event.name`). Any other
record that can be parsed is accepted; one bad record costs one record.

Cost: about 2 us a record, 20 us one of ours. Limits: `wire`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import isfinite
from typing import Any, Final

from msgspec import Raw

from otel_latency import semconv
from otel_latency.ingest.text import NAME_LIMIT, clean
from otel_latency.ingest.wire import (
    MAX_ATTRIBUTES,
    MAX_ITEMS,
    MAX_TIME_NS,
    ItemError,
    ProtoWalk,
    Quota,
    Rejected,
    attributes,
    from_proto,
)
from otel_latency.ingest.wire_json import (
    HexId,
    Int64,
    KeyValue,
    Message,
    from_json,
    json_keys,
    json_resource,
    json_scope,
    parse_json,
)
from otel_latency.records import Operation, Resource

_EVENTS: Final = {
    semconv.OPERATION_START: "start",
    semconv.OPERATION_PROGRESS: "progress",
    semconv.OPERATION_WARNING: "warning",
    semconv.OPERATION_END: "end",
}
_PROVIDER, _MODEL = "gen_ai.provider.name", "gen_ai.request.model"

_Item = tuple[Resource | None, memoryview | Raw]


def decode_logs(body: bytes, *, is_json: bool) -> tuple[list[Operation], int, Rejected]:
    """The operations reported in an ExportLogsServiceRequest, the log records accepted in all, and those refused.

    Raises DecodeError when the body cannot be read as a whole, BodyTooLarge when it holds too many records.
    """
    operations: list[Operation] = []
    accepted = 0
    rejected = Rejected()
    quota = Quota(MAX_ITEMS, "log records")
    for resource, item in _json_items(body) if is_json else ProtoWalk().items(body):
        quota.take()
        try:
            operation = _operation(resource, item)
        except ItemError as reason:
            rejected[str(reason)] += 1
            continue
        accepted += 1
        if operation:
            operations.append(operation)
    return operations, accepted, rejected


def _operation(resource: Resource | None, item: memoryview | Raw) -> Operation | None:
    """What a log record says about an operation; None when it is about something else."""
    record: Any = from_json(_LogRecord, item) if isinstance(item, Raw) else from_proto(_proto_record(), item)
    if resource is None:
        raise ItemError("malformed")
    event = _EVENTS.get(record.event_name or _event_attribute(record.attributes or ()))
    if event is None:
        return None
    trace_id, span_id = bytes(record.trace_id), bytes(record.span_id)
    if len(trace_id) != 16 or not any(trace_id):
        raise ItemError("invalid_trace_id")
    if len(span_id) != 8 or not any(span_id):
        raise ItemError("invalid_span_id")
    said = attributes(record.attributes, NAME_LIMIT)
    nanoseconds = record.time_unix_nano or record.observed_time_unix_nano
    return Operation(
        event=event,
        time=min(max(nanoseconds, 0), MAX_TIME_NS) / 1e9,
        trace_id=trace_id,
        span_id=span_id,
        service=resource.service,
        stage=_text(said, semconv.STAGE),
        task=_text(said, semconv.TASK),
        provider=_text(said, _PROVIDER),
        model=_text(said, _MODEL),
        elapsed=_seconds(said, semconv.ELAPSED),
        estimate=_seconds(said, semconv.ESTIMATE),
        timeout=_seconds(said, semconv.TIMEOUT),
    )


def _event_attribute(pairs: Iterable[Any]) -> str:
    for _, pair in zip(range(MAX_ATTRIBUTES), pairs, strict=False):
        if pair.key == "event.name" and pair.value:
            return pair.value.string_value or ""
    return ""


def _text(said: Mapping[str, object], key: str) -> str:
    value = said.get(key)
    return clean(value, NAME_LIMIT) if isinstance(value, str) else ""


def _seconds(said: Mapping[str, object], key: str) -> float | None:
    value = said.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        return None
    return float(value)


@cache
def _proto_record() -> Any:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord  # late, as in `wire`

    return LogRecord


class _LogRecord(Message):
    time_unix_nano: Int64 = Int64()
    observed_time_unix_nano: Int64 = Int64()
    event_name: str | None = None
    trace_id: HexId = HexId()
    span_id: HexId = HexId()
    attributes: list[KeyValue] | None = None


class _ScopeLogs(Message):
    scope: Raw = Raw()
    log_records: list[Raw] | None = None


class _ResourceLogs(Message):
    resource: Raw = Raw()
    scope_logs: list[_ScopeLogs] | None = None


class _Request(Message):
    resource_logs: list[_ResourceLogs] | None = None


JSON_KEYS: Final = json_keys(_Request, _ResourceLogs, _ScopeLogs, _LogRecord) | {
    "schemaUrl",
    "severityNumber",
    "severityText",
    "body",
    "flags",
    "droppedAttributesCount",
}
"""Keys that mean something in a logs request; see `wire_json.ignored_keys_warning`."""

_ARRAY_DEPTHS = frozenset({2, 4, 6})


def _json_items(body: bytes) -> Iterator[_Item]:
    for scoped in parse_json(body, _Request, arrays=_ARRAY_DEPTHS).resource_logs or ():
        resource = json_resource(scoped.resource)
        for envelope in scoped.scope_logs or ():
            source = json_scope(resource, envelope.scope)
            for record in envelope.log_records or ():
                yield source, record
