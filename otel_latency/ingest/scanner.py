"""Spans out of a protobuf trace request, one by one, so that a bad span costs one span.

A scanner looks up each attribute key in one table and treats its value as the table says: a LABEL decides what the
span *means* and is resolved to a `Profile` once per distinct combination; a MEASURE goes into the row under its field's
name if it is a number from 0 to `MAX_PLAIN`; every other value, and what is FOREIGN, is handed to `convert` under the
attribute's key. A LINK is looked for on links only: their (span id, text) pairs are handed over as a list.

The first event of a name counts as seconds since the span's start: a MEASURE goes into the row unless an attribute said
it, what is FOREIGN is handed over under its target. Of a DETAIL event every one's attributes are, as a list; an IGNORED
one is nothing. Where `OTHERS` is a name, the other events that have a plain one (letters, digits, underscores) are
handed over together, as a dict of name to seconds.

Two scanners keep this contract, span for span: `_scanner.Scanner`, compiled (0.6 us for a span of 12 attributes on a
2020s core), and `PythonScanner` (about 70 us), which is the readable statement of the rules and serves
where no compiler was at hand.

Limits: 20,000 spans and as many envelopes per request; a span of 64 KiB; the first 128 attributes and events of a
span; text of 4 KiB, cut between characters. Memory: 2,048 cached profiles, 1 MiB of their labels.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeGuard

from otel_latency.ingest.wire import FIXED64, VARINT, fields
from otel_latency.records import Profile, SpanRow

LABEL, MEASURE, FOREIGN, LINK, DETAIL, IGNORED = range(6)
OTHERS = "*"

MAX_SPANS = 20_000
MAX_SPAN_BYTES = 65_536
MAX_ATTRIBUTES = 128
MAX_EVENTS = 128
MAX_LINKS = 16
MAX_TEXT = 4_096
MAX_PROFILES = 2_048
MAX_PLAIN = 86_400
UNREADABLE = (1 << 64) - 1

Interests = dict[str, tuple[int, str]]
"""Attribute key or event name -> (LABEL, MEASURE, ...; the field of a measure, or what an event is handed over as)."""

Pairs = list[tuple[str, object]]
Event = tuple[str, int, Pairs]
"""Name, Unix ns, and the attributes where they are wanted."""
Link = tuple[bytes, Pairs]
"""Span id and attributes."""

Context = Callable[[bytes, bytes], int]
"""(OTLP Resource, OTLP InstrumentationScope) as bytes -> a number that stands for the pair; `UNREADABLE`
when one of them is malformed, and then its spans are, too."""

Resolve = Callable[[int, str, int, bool, int, dict[str, object]], Profile]
"""(context, span name, kind, is root, status code, labels) -> what such a span means."""

Convert = Callable[[int, Profile, dict[str, object], dict[str, float | str], int, int], None]
"""(context, profile, foreign values, measures to add to, start, end in Unix nanoseconds)."""


class SpanScanner(Protocol):
    """What both scanners offer."""

    def scan(self, body: bytes) -> tuple[list[SpanRow], Mapping[str, int]]:
        """The rows of an ExportTraceServiceRequest and the spans refused, by reason.

        Raises ValueError when the body's framing is broken, OverflowError when it holds too many spans.
        """

    def forget(self) -> None:
        """Drop every cached profile; contexts may then be numbered anew."""


class RowBuilder:
    """Turns the decoded parts of a span into a row: the half of a scanner that does not care about the encoding."""

    def __init__(
        self, attributes: Interests, events: Interests, context: Context, resolve: Resolve, convert: Convert
    ) -> None:
        self._attributes = attributes
        self._events = events
        self._others = events.get(OTHERS, (IGNORED, ""))[1]
        self.context = context
        self._resolve = resolve
        self._convert = convert
        self._profiles: dict[tuple[object, ...], Profile] = {}

    def forget(self) -> None:
        self._profiles.clear()

    def is_detailed(self, event: str) -> bool:
        """Whether the attributes of such an event are wanted."""
        return self._events.get(event, _UNKNOWN)[0] == DETAIL

    def row(
        self,
        context: int,
        ids: tuple[bytes, bytes, bytes],
        name: str,
        kind: int,
        status: int,
        times: tuple[int, int],
        attributes: Iterable[tuple[str, object]],
        events: Iterable[Event],
        links: Iterable[Link],
    ) -> SpanRow:
        """*ids* are those of trace, span and parent, already known to be valid."""
        start_ns, end_ns = times
        labels: dict[str, object] = {}
        measures: dict[str, float | str] = {}
        foreign: dict[str, object] = {}
        for key, value in attributes:
            kind_of_key, field = self._attributes.get(key, (None, ""))
            if kind_of_key in (None, LINK) or not _is_scalar(value):
                continue
            if kind_of_key == LABEL:
                labels[key] = value
            elif kind_of_key == MEASURE and _is_plain_number(value):
                measures[field] = value
            else:
                foreign[key] = value
        self._add_events(events, start_ns, measures, foreign)
        self._add_links(links, foreign)
        profile = self._profile(context, name, kind, not ids[2], status, labels)
        if foreign:
            self._convert(context, profile, foreign, measures, start_ns, end_ns)
        return profile, *ids, start_ns, end_ns, measures or None

    def _add_events(
        self, events: Iterable[Event], start_ns: int, measures: dict[str, float | str], foreign: dict[str, object]
    ) -> None:
        for event, time_ns, attributes in events:
            kind, target = self._events.get(event, _UNKNOWN) if event != OTHERS else _UNKNOWN
            seconds = (time_ns - start_ns) * 1e-9
            if kind == DETAIL:
                details = foreign.setdefault(target, [])
                assert isinstance(details, list)
                details.append({key: value for key, value in attributes if _is_scalar(value)})
            elif kind == IGNORED or seconds < 0:
                continue
            elif kind is not None:
                (measures if kind == MEASURE else foreign).setdefault(target, seconds)
            elif self._others and _PLAIN_NAME.fullmatch(event):
                moments = foreign.setdefault(self._others, {})
                assert isinstance(moments, dict)
                moments.setdefault(event, seconds)

    def _add_links(self, links: Iterable[Link], foreign: dict[str, object]) -> None:
        for span_id, attributes in links:
            told = [(key, value) for key, value in attributes if self._attributes.get(key, _UNKNOWN)[0] == LINK]
            if told and len(span_id) == 8 and isinstance(told[-1][1], str):
                known = foreign.setdefault(told[-1][0], [])
                assert isinstance(known, list)
                known.append((span_id, told[-1][1]))

    def _profile(
        self, context: int, name: str, kind: int, is_root: bool, status: int, labels: dict[str, object]
    ) -> Profile:
        shape = (context, name, kind, is_root, status, *((key, type(v), v) for key, v in labels.items()))
        profile = self._profiles.get(shape)
        if profile is None:
            if len(self._profiles) >= MAX_PROFILES:
                self._profiles.clear()
            profile = self._resolve(context, name, kind, is_root, status, labels)
            self._profiles[shape] = profile
        return profile


_UNKNOWN: tuple[None, str] = (None, "")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def _is_scalar(value: object) -> TypeGuard[str | float]:
    return isinstance(value, str | bool | int | float)


def _is_plain_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_PLAIN


class PythonScanner:
    """The contract of `SpanScanner` in Python."""

    def __init__(
        self, attributes: Interests, events: Interests, context: Context, resolve: Resolve, convert: Convert
    ) -> None:
        self._builder = RowBuilder(attributes, events, context, resolve, convert)
        self.forget = self._builder.forget

    def scan(self, body: bytes) -> tuple[list[SpanRow], Mapping[str, int]]:
        rows: list[SpanRow] = []
        rejected: Counter[str] = Counter()
        spans = 0
        for context, span in _spans(body, self._builder.context):
            spans = _counted(spans)
            row = self._row(context, span)
            if isinstance(row, str):
                rejected[row] += 1
            else:
                rows.append(row)
        return rows, rejected

    def _row(self, context: int, span: bytes) -> SpanRow | str:
        if len(span) > MAX_SPAN_BYTES:
            return "too_large"
        if context == UNREADABLE:
            return "malformed"
        try:
            parts = list(fields(span))
            name = _text(_last(parts, 5))
            kind, status = _last_int(parts, 6, VARINT), _status(_all(parts, 15))
            attributes = [_attribute(body) for body in _all(parts, 9)[:MAX_ATTRIBUTES]]
        except ValueError:
            return "malformed"
        ids = _last(parts, 1), _last(parts, 2), _last(parts, 4)
        refused = invalid_ids(*ids[:2])
        if refused:
            return refused
        try:
            events = [self._event(body) for body in _all(parts, 11)[:MAX_EVENTS]]
            links = [_link(body) for body in _all(parts, 13)[:MAX_LINKS]]
        except ValueError:
            return "malformed"
        parent = ids[2] if len(ids[2]) == 8 and any(ids[2]) else b""
        times = _last_int(parts, 7, FIXED64), _last_int(parts, 8, FIXED64)
        return self._builder.row(
            context, (ids[0], ids[1], parent), name, kind, status, times, attributes, events, links
        )

    def _event(self, body: bytes) -> Event:
        parts = list(fields(body))
        name = _last(parts, 2).decode()
        wanted = _all(parts, 3)[:MAX_ATTRIBUTES] if self._builder.is_detailed(name) else []
        return name, _last_int(parts, 1, FIXED64), [_attribute(each) for each in wanted]


def invalid_ids(trace_id: bytes, span_id: bytes) -> str:
    """Why the ids of a span are refused, or an empty text (trace.proto: 16 and 8 bytes, not all zero)."""
    if len(trace_id) != 16 or not any(trace_id):
        return "invalid_trace_id"
    if len(span_id) != 8 or not any(span_id):
        return "invalid_span_id"
    return ""


def truncated(text: str) -> str:
    """*text* cut to `MAX_TEXT` bytes of UTF-8, between two characters."""
    encoded = text.encode()
    return text if len(encoded) <= MAX_TEXT else encoded[:MAX_TEXT].decode(errors="ignore")


_Field = tuple[int, int, int | bytes]


def _all(parts: Iterable[_Field], number: int) -> list[bytes]:
    return [value for n, _, value in parts if n == number and isinstance(value, bytes)]


def _last(parts: Iterable[_Field], number: int) -> bytes:
    found = _all(parts, number)
    return found[-1] if found else b""


def _last_int(parts: Iterable[_Field], number: int, wire_type: int) -> int:
    found = [value for n, t, value in parts if n == number and t == wire_type and isinstance(value, int)]
    return found[-1] if found else 0


def _spans(body: bytes, context: Context) -> Iterator[tuple[int, bytes]]:
    envelopes = 0
    for resource_spans in _children(body, 1):
        resource = _last_child(resource_spans, 1)
        envelopes = _counted(envelopes)
        for scope_spans in _children(resource_spans, 2):
            envelopes = _counted(envelopes)
            number = context(resource, _last_child(scope_spans, 1))
            for span in _children(scope_spans, 2):
                yield number, span


def _counted(count: int) -> int:
    """One more span or envelope."""
    if count >= MAX_SPANS:
        raise OverflowError(f"more than {MAX_SPANS} spans in one request")
    return count + 1


def _children(message: bytes, number: int) -> Iterator[bytes]:
    return (value for n, _, value in fields(message) if n == number and isinstance(value, bytes))


def _last_child(message: bytes, number: int) -> bytes:
    last = b""
    for last in _children(message, number):  # noqa: B007
        pass
    return last


def _text(body: bytes) -> str:
    return truncated(body.decode())


def _status(bodies: list[bytes]) -> int:
    return _last_int([field for body in bodies for field in fields(body)], 3, VARINT)


def _attribute(body: bytes) -> tuple[str, object]:
    parts = list(fields(body))
    key, value = _last(parts, 1).decode(), list(fields(_last(parts, 2)))
    for text in _all(value, 1):
        text.decode()
    return key, _scalar(value)


def _scalar(value: list[_Field]) -> object:
    """The scalar of an AnyValue's fields; None for arrays, maps, bytes and no value at all."""
    if not value:
        return None
    number, wire_type, content = value[-1]
    if number == 1 and isinstance(content, bytes):
        return _text(content)
    if number == 2 and wire_type == VARINT:
        return bool(content)
    if number == 3 and wire_type == VARINT and isinstance(content, int):
        return content - (1 << 64) if content >> 63 else content
    if number == 4 and wire_type == FIXED64 and isinstance(content, int):
        return struct.unpack("<d", content.to_bytes(8, "little"))[0]
    return None


def _link(body: bytes) -> Link:
    parts = list(fields(body))
    return _last(parts, 2), [_attribute(each) for each in _all(parts, 4)[:MAX_ATTRIBUTES]]


def make_scanner(
    attributes: Interests,
    events: Interests,
    context: Context,
    resolve: Resolve,
    convert: Convert,
    *,
    compiled: bool = True,
) -> SpanScanner:
    """The compiled scanner where it was built and is wanted, else the Python one."""
    if compiled:
        try:
            from otel_latency.ingest._scanner import Scanner
        except ImportError:
            pass
        else:
            scanner: SpanScanner = Scanner(dict(attributes), dict(events), context, resolve, convert)
            return scanner
    return PythonScanner(attributes, events, context, resolve, convert)
