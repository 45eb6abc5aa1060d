"""Trace requests to rows, in both encodings: the scanner fed with our vocabulary, and the same rules for JSON.

Where spans come from (resource and scope) is decoded once and remembered by its bytes: an exporter sends the same
ones again and again. Limits: those of `scanner` and `wire`. Memory: 1,024 origins and 4 MiB of their bytes. A request
with more than that is taken all the same: in the middle of it everything is forgotten, and numbering starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from msgspec import Raw

from otel_latency import semconv
from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest import details, normalise
from otel_latency.ingest.normalise import Normaliser
from otel_latency.ingest.scanner import (
    DETAIL,
    FOREIGN,
    IGNORED,
    LABEL,
    LINK,
    MAX_ATTRIBUTES,
    MAX_EVENTS,
    MAX_LINKS,
    MEASURE,
    OTHERS,
    UNREADABLE,
    Pairs,
    RowBuilder,
    invalid_ids,
    make_scanner,
)
from otel_latency.ingest.wire import MAX_ITEMS, ItemError, Quota, Rejected, plain, proto_resource, proto_scope
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
from otel_latency.records import Profile, Resource, SpanRow

MAX_ORIGINS: Final = 1024
MAX_ORIGIN_BYTES: Final = 4 << 20

ATTRIBUTES: Final = {
    **dict.fromkeys(normalise.LABELS, (LABEL, "")),
    **{key: (MEASURE, field) for key, field in normalise.MEASURES.items()},
    **dict.fromkeys(normalise.FOREIGN, (FOREIGN, "")),
    semconv.AFTER: (LINK, ""),
}
EVENTS: Final = {
    **{name: (FOREIGN, normalise.EVENT_PREFIX + name) for name in normalise.EVENTS},
    **{name: (MEASURE, field) for name, field in normalise.MILESTONES.items()},
    **dict.fromkeys(normalise.NO_MOMENTS, (IGNORED, "")),
    details.SENTENCE: (DETAIL, details.SENTENCES),
    OTHERS: (FOREIGN, details.MOMENTS),
}


class TraceDecoder:
    """Decodes ExportTraceServiceRequests; keeps what it learnt about origins and profiles."""

    def __init__(self, *, compiled: bool = True) -> None:
        self._normaliser = Normaliser()
        self._origins = _Origins(self._forget_profiles)
        callbacks = (self._number, self._profile, self._convert)
        self._scanner = make_scanner(ATTRIBUTES, EVENTS, *callbacks, compiled=compiled)
        self._builder = RowBuilder(ATTRIBUTES, EVENTS, *callbacks)

    def decode(self, body: bytes, *, is_json: bool) -> tuple[list[SpanRow], Mapping[str, int]]:
        """The rows of a request, and the spans refused by reason.

        Raises DecodeError when the body cannot be read as a whole, BodyTooLarge when it holds too many spans.
        """
        try:
            return self._decode_json(body) if is_json else self._scanner.scan(body)
        except OverflowError as error:
            raise BodyTooLarge(f"{error}: send smaller batches") from None
        except DecodeError:
            raise
        except ValueError as error:
            raise DecodeError(f"not an OTLP message: {error}") from None
        finally:
            self._origins.leave()

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
            resource = bytes(scoped.resource)
            for envelope in scoped.scope_spans or ():
                origin = self._origins.number(_JSON, resource, bytes(envelope.scope))
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
            (int(max(span.start_time_unix_nano, 0)), int(max(span.end_time_unix_nano, 0))),
            _pairs(span.attributes),
            [_event(one) for one in (span.events or ())[:MAX_EVENTS]],
            [(bytes(one.span_id), _pairs(one.attributes)) for one in (span.links or ())[:MAX_LINKS]],
        )

    # What the scanner asks.

    def _number(self, resource: bytes, scope: bytes) -> int:
        return self._origins.number(_PROTOBUF, resource, scope)

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

    def _forget_profiles(self) -> None:
        self._scanner.forget()
        self._builder.forget()


class _Encoding(NamedTuple):
    """How the bytes of a resource and of a scope below it are read."""

    resource: Callable[[bytes], Resource | None]
    scope: Callable[[Resource | None, bytes], Resource | None]


_PROTOBUF = _Encoding(proto_resource, proto_scope)
_JSON = _Encoding(json_resource, json_scope)


@dataclass(slots=True)
class _Known:
    """A resource without its attributes, on which no span's meaning depends, and the numbers of its scopes."""

    resource: Resource | None
    scopes: dict[bytes, int] = field(default_factory=dict)


class _Origins:
    """Where spans come from, by number: one for each pair of a resource and a scope."""

    def __init__(self, forget_profiles: Callable[[], None]) -> None:
        self._forget_profiles = forget_profiles
        self._numbered: list[Resource] = []
        self._known: dict[tuple[_Encoding, bytes], _Known] = {}
        self._bytes = 0
        self._current: tuple[bytes, _Known] | None = None

    def __getitem__(self, number: int) -> Resource:
        return self._numbered[number]

    def __len__(self) -> int:
        return len(self._numbered)

    def number(self, encoding: _Encoding, resource: bytes, scope: bytes) -> int:
        """Asked at the head of each envelope of scopes: earlier numbers may be void from then on."""
        known = self._enter(encoding, resource)
        number = known.scopes.get(scope)
        if number is not None:
            return number
        origin = encoding.scope(known.resource, scope)
        return UNREADABLE if origin is None else self._remember(encoding, resource, scope, origin)

    def leave(self) -> None:
        """The request is over: let go of its last resource, which may be large."""
        self._current = None

    def _enter(self, encoding: _Encoding, resource: bytes) -> _Known:
        # All scopes of an envelope come with the same object: even to compare 4 MiB for each of them takes too long.
        if self._current is None or self._current[0] is not resource:
            self._current = resource, self._known.get((encoding, resource)) or _read(encoding, resource)
        return self._current[1]

    def _remember(self, encoding: _Encoding, resource: bytes, scope: bytes, origin: Resource) -> int:
        if len(self._numbered) >= MAX_ORIGINS or self._bytes + len(resource) + len(scope) > MAX_ORIGIN_BYTES:
            self._forget()
        known = self._enter(encoding, resource)
        if not known.scopes:
            self._known[encoding, resource] = known
            self._bytes += len(resource)
        self._bytes += len(scope)
        number = known.scopes[scope] = len(self._numbered)
        self._numbered.append(origin)
        return number

    def _forget(self) -> None:
        self._numbered.clear()
        self._known.clear()
        self._bytes = 0
        self._current = None
        self._forget_profiles()


def _read(encoding: _Encoding, resource: bytes) -> _Known:
    found = encoding.resource(resource)
    return _Known(found and replace(found, attributes={}))


class _Event(Message):
    time_unix_nano: Int64 = Int64()
    name: str | None = None
    attributes: list[KeyValue] | None = None


class _Link(Message):
    span_id: HexId = HexId()
    attributes: list[KeyValue] | None = None


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
    links: list[_Link] | None = None
    status: _Status | None = None


class _ScopeSpans(Message):
    scope: Raw = Raw()
    spans: list[Raw] | None = None


class _ResourceSpans(Message):
    resource: Raw = Raw()
    scope_spans: list[_ScopeSpans] | None = None


class _Request(Message):
    resource_spans: list[_ResourceSpans] | None = None


JSON_KEYS: Final = json_keys(_Request, _ResourceSpans, _ScopeSpans, _Span, _Event, _Link, _Status) | {
    "schemaUrl",
    "traceState",
    "flags",
    "message",
    "droppedAttributesCount",
    "droppedEventsCount",
    "droppedLinksCount",
}
"""Keys that mean something in a trace request; see `wire_json.ignored_keys_warning`."""

_ARRAY_DEPTHS = frozenset({2, 4, 6})

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")


def _pairs(attributes: list[KeyValue] | None) -> Pairs:
    return [(pair.key or "", plain(pair.value)) for pair in (attributes or ())[:MAX_ATTRIBUTES]]


def _event(event: _Event) -> tuple[str, int, Pairs]:
    return event.name or "", int(event.time_unix_nano), _pairs(event.attributes)


def _number_of(value: int | str | None, names: tuple[str, ...]) -> int:
    """An enum by number, or by name as `SPAN_KIND_CLIENT` (not allowed, but seen)."""
    if isinstance(value, int):
        return max(value, 0)
    name = (value or "").removeprefix("SPAN_KIND_").removeprefix("STATUS_CODE_")
    return names.index(name) if name in names else 0
