"""Trace requests to rows, in both encodings: the scanner fed with our vocabulary, and the same rules for JSON.

Where spans come from (resource and scope) is decoded once and remembered by its bytes: an exporter sends the same
ones again and again. Limits: those of `scanner` and `wire`. Memory: 1,024 origins or 4 MiB of their bytes, and what one
request brings on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from msgspec import Raw

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest import normalise
from otel_latency.ingest.normalise import Normaliser
from otel_latency.ingest.scanner import (
    FOREIGN,
    LABEL,
    MAX_ATTRIBUTES,
    MAX_EVENTS,
    MEASURE,
    UNREADABLE,
    RowBuilder,
    invalid_ids,
    make_scanner,
)
from otel_latency.ingest.wire import MAX_ITEMS, ItemError, Quota, Rejected, plain, proto_resource
from otel_latency.ingest.wire_json import (
    HexId,
    Int64,
    KeyValue,
    Message,
    from_json,
    json_keys,
    json_resource,
    parse_json,
)
from otel_latency.records import Profile, Resource, SpanRow

MAX_ORIGINS: Final = 1024
MAX_ORIGIN_BYTES: Final = 4 << 20

ATTRIBUTES: Final = {
    **dict.fromkeys(normalise.LABELS, (LABEL, "")),
    **{key: (MEASURE, field) for key, field in normalise.MEASURES.items()},
    **dict.fromkeys(normalise.FOREIGN, (FOREIGN, "")),
}
EVENTS: Final = {name: normalise.EVENT_PREFIX + name for name in normalise.EVENTS}


class TraceDecoder:
    """Decodes ExportTraceServiceRequests; keeps what it learnt about origins and profiles."""

    def __init__(self, *, compiled: bool = True) -> None:
        self._normaliser = Normaliser()
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._origins: list[Resource] = []
        self._origin_bytes = 0
        callbacks = (self._number, self._profile, self._convert)
        self._scanner = make_scanner(ATTRIBUTES, EVENTS, *callbacks, compiled=compiled)
        self._builder = RowBuilder(ATTRIBUTES, EVENTS, *callbacks)

    def decode(self, body: bytes, *, is_json: bool) -> tuple[list[SpanRow], Mapping[str, int]]:
        """The rows of a request, and the spans refused by reason.

        Raises DecodeError when the body cannot be read as a whole, BodyTooLarge when it holds too many spans.
        """
        if len(self._origins) > MAX_ORIGINS or self._origin_bytes > MAX_ORIGIN_BYTES:
            self._forget()
        if is_json:
            return self._decode_json(body)
        try:
            return self._scanner.scan(body)
        except OverflowError as error:
            raise BodyTooLarge(f"{error}: send smaller batches") from None
        except DecodeError:
            raise
        except ValueError as error:
            raise DecodeError(f"not an OTLP message: {error}") from None

    def _decode_json(self, body: bytes) -> tuple[list[SpanRow], Mapping[str, int]]:
        rows: list[SpanRow] = []
        rejected = Rejected()
        quota = Quota(MAX_ITEMS, "spans")
        for origin, item in self._json_items(body):
            quota.take()
            try:
                rows.append(self._json_row(origin, item))
            except ItemError as reason:
                rejected[str(reason)] += 1
        return rows, rejected

    def _json_items(self, body: bytes) -> Iterator[tuple[int, Raw]]:
        for scoped in parse_json(body, _Request, arrays=_ARRAY_DEPTHS).resource_spans or ():
            described = b"json" + bytes(scoped.resource)
            for envelope in scoped.scope_spans or ():
                resource = json_resource(scoped.resource, envelope.scope)
                key = described, bytes(envelope.scope)
                origin = self._remember(key, resource) if resource else UNREADABLE
                for span in envelope.spans or ():
                    yield origin, span

    def _json_row(self, origin: int, item: Raw) -> SpanRow:
        span = from_json(_Span, item)
        parent = bytes(span.parent_span_id)
        ids = bytes(span.trace_id), bytes(span.span_id), parent if len(parent) == 8 and any(parent) else b""
        refused = "malformed" if origin == UNREADABLE else invalid_ids(*ids[:2])
        if refused:
            raise ItemError(refused)
        status = (span.status or _Status()).code
        return self._builder.row(
            origin,
            ids,
            span.name or "",
            _number_of(span.kind, _KINDS),
            _number_of(status, _STATUS_CODES),
            (max(span.start_time_unix_nano, 0), max(span.end_time_unix_nano, 0)),
            [(pair.key or "", plain(pair.value)) for pair in (span.attributes or ())[:MAX_ATTRIBUTES]],
            [(event.name or "", event.time_unix_nano) for event in (span.events or ())[:MAX_EVENTS]],
        )

    # What the scanner asks.

    def _number(self, resource: bytes, scope: bytes) -> int:
        known = self._numbers.get((resource, scope))
        if known is not None:
            return known
        origin = proto_resource(resource, scope)
        return self._remember((resource, scope), origin) if origin else UNREADABLE

    def _remember(self, key: tuple[bytes, bytes], resource: Resource) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = len(self._origins)
            self._origins.append(replace(resource, attributes={}))  # a span's meaning does not depend on them
            self._numbers[key] = number
            self._origin_bytes += len(key[0]) + len(key[1])
        return number

    def _profile(
        self, origin: int, name: str, kind: int, is_root: bool, status: int, labels: dict[str, object]
    ) -> Profile:
        return self._normaliser.profile(self._origins[origin], name, kind, is_root, status, labels)

    def _convert(
        self,
        origin: int,
        profile: Profile,
        foreign: dict[str, object],
        measures: dict[str, float | str],
        start_ns: int,
        end_ns: int,
    ) -> None:
        self._normaliser.convert(profile, self._origins[origin], foreign, measures, start_ns, end_ns)

    def _forget(self) -> None:
        self._origins.clear()
        self._numbers.clear()
        self._origin_bytes = 0
        self._scanner.forget()
        self._builder.forget()


class _Event(Message):
    time_unix_nano: Int64 = Int64()
    name: str | None = None


class _Status(Message):
    code: int | str | None = 0


class _Span(Message):
    trace_id: HexId = HexId()
    span_id: HexId = HexId()
    parent_span_id: HexId = HexId()
    name: str | None = None
    kind: int | str | None = 0
    start_time_unix_nano: Int64 = Int64()
    end_time_unix_nano: Int64 = Int64()
    attributes: list[KeyValue] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


class _ScopeSpans(Message):
    scope: Raw = Raw()
    spans: list[Raw] | None = None


class _ResourceSpans(Message):
    resource: Raw = Raw()
    scope_spans: list[_ScopeSpans] | None = None


class _Request(Message):
    resource_spans: list[_ResourceSpans] | None = None


JSON_KEYS: Final = json_keys(_Request, _ResourceSpans, _ScopeSpans, _Span, _Event, _Status) | {
    "schemaUrl",
    "traceState",
    "flags",
    "links",
    "message",
    "droppedAttributesCount",
    "droppedEventsCount",
    "droppedLinksCount",
}
"""Keys that mean something in a trace request; see `wire_json.ignored_keys_warning`."""

_ARRAY_DEPTHS = frozenset({2, 4, 6})

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")


def _number_of(value: int | str | None, names: tuple[str, ...]) -> int:
    """An enum by number, or by name as `SPAN_KIND_CLIENT` (not allowed, but seen)."""
    if isinstance(value, int):
        return max(value, 0)
    name = (value or "").removeprefix("SPAN_KIND_").removeprefix("STATUS_CODE_")
    return names.index(name) if name in names else 0
