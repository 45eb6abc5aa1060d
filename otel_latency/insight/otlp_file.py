"""Requests out of an OTLP/JSON file: one document, or one on each line as the Collector's file exporter writes them.

Spans become turns with their critical path, put together as the agent does it. Log records of `log_timing` become
requests of events, as from an event log.

Limits: the whole file is in memory; what the agent would refuse is refused here, too, and told by its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from otel_latency import semconv
from otel_latency.aggregate.turn import Turn
from otel_latency.aggregate.turns import TurnAssembler
from otel_latency.errors import ConfigError, DecodeError
from otel_latency.ingest.otlp_traces import TraceDecoder
from otel_latency.ingest.wire import ItemError, attributes
from otel_latency.ingest.wire_json import Int64, KeyValue, Message, from_json
from otel_latency.insight.events import Event, Known, Notice, unreadable
from otel_latency.insight.requests import Request, request_of
from otel_latency.insight.turns import request_of_turn
from otel_latency.records import SpanRow

SPANS_AT_ONCE: Final = 1_000
"""A request as an exporter would have sent it: a file may hold far more than one request may."""
UNLIMITED: Final = 1 << 62


class _ScopeSpans(Message):
    scope: Raw = Raw(b"{}")
    spans: list[Raw] | None = None


class _ResourceSpans(Message):
    resource: Raw = Raw(b"{}")
    scope_spans: list[_ScopeSpans] | None = None


class _LogRecord(Message):
    time_unix_nano: Int64 = Int64()
    event_name: str | None = None
    attributes: list[KeyValue] | None = None


class _ScopeLogs(Message):
    log_records: list[_LogRecord] | None = None


class _ResourceLogs(Message):
    scope_logs: list[_ScopeLogs] | None = None


class _Document(Message):
    resource_spans: list[_ResourceSpans] | None = None
    resource_logs: list[_ResourceLogs] | None = None


def is_otlp(path: Path) -> bool:
    """Whether the beginning of a file looks like OTLP/JSON with spans or logs."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise unreadable(path, error) from None
    return start.lstrip()[:1] == b"{" and (b'"resourceSpans"' in start or b'"resourceLogs"' in start)


def read(path: Path, notice: Callable[[Notice], None]) -> list[Request]:
    """The requests that a file tells of, by their start. Raises ConfigError when nothing of it is OTLP/JSON."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    rows: list[SpanRow] = []
    events: dict[str, list[Event]] = {}
    decoder = TraceDecoder()
    count = 0
    for line, document in _documents(path, data, notice):
        count += 1
        for body in _requests(document):
            found, refused = _decoded(decoder, body)
            rows += found
            for reason, number in refused.items():
                notice(Notice(path, line, f"{number} spans left out: {reason}"))
        for event in _events(document, line):
            events.setdefault(event.request_id, []).append(event)
    if not count:
        raise ConfigError(f"{path}: no OTLP/JSON: write one document, or one on each line")
    requests = [*_turns(rows), *(request_of(request_id, each) for request_id, each in events.items())]
    return sorted(requests, key=_start)


def _documents(path: Path, data: bytes, notice: Callable[[Notice], None]) -> Iterator[tuple[int, _Document]]:
    """Each with the number of its line."""
    try:
        whole = from_json(_Document, data, UNLIMITED)
    except ItemError:
        pass
    else:
        yield 1, whole
        return
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = from_json(_Document, line, UNLIMITED)
        except ItemError:
            notice(Notice(path, number, "left out: no OTLP/JSON"))
            continue
        yield number, document


def _requests(document: _Document) -> Iterator[bytes]:
    """The document's spans in requests that the decoder takes."""
    for envelope in document.resource_spans or ():
        for scoped in envelope.scope_spans or ():
            spans = scoped.spans or []
            for first in range(0, len(spans), SPANS_AT_ONCE):
                some = b",".join(map(bytes, spans[first : first + SPANS_AT_ONCE]))
                scopes = b'{"scope":%b,"spans":[%b]}' % (bytes(scoped.scope), some)
                yield b'{"resourceSpans":[{"resource":%b,"scopeSpans":[%b]}]}' % (bytes(envelope.resource), scopes)


def _decoded(decoder: TraceDecoder, body: bytes) -> tuple[list[SpanRow], dict[str, int]]:
    try:
        rows, refused = decoder.decode(body, is_json=True)
    except DecodeError as error:
        return [], {str(error): body.count(b'"spanId"')}
    return rows, dict(refused)


def _events(document: _Document, line: int) -> Iterator[Event]:
    """What `log_timing` sent as log records."""
    for envelope in document.resource_logs or ():
        for scoped in envelope.scope_logs or ():
            for record in scoped.log_records or ():
                said = attributes(record.attributes)
                if semconv.TIMING not in (record.event_name, said.get("event.name")):
                    continue
                yield Event(
                    timestamp=record.time_unix_nano / 1e9,
                    request_id=str(said.get(semconv.REQUEST_ID, "")),
                    event=str(said.get(semconv.EVENT, "")),
                    service=str(said.get("service", "")),
                    metadata=msgspec.convert(said, Known),
                    line=line,
                )


def _turns(rows: list[SpanRow]) -> Iterator[Request]:
    assembler = TurnAssembler(max_spans=max(len(rows), 1), max_bytes=UNLIMITED)
    assembler.add(rows, 0.0)
    prompts: dict[bytes, list[tuple[int, float]]] = {}
    for profile, trace_id, _, _, start_ns, _, measures in rows:
        tokens = (measures or {}).get("input_tokens")
        if profile.llm and isinstance(tokens, float | int):
            prompts.setdefault(trace_id, []).append((start_ns, tokens))
    for turn in assembler.flush().final:
        yield request_of_turn(turn, _prompt_of(turn, prompts.get(turn.trace_id, ())))


def _prompt_of(turn: Turn, calls: Iterable[tuple[int, float]]) -> float | None:
    """The size of the first prompt within the turn."""
    inside = [call for call in calls if turn.start_ns <= call[0] <= turn.end_ns]
    return min(inside)[1] if inside else None


def _start(request: Request) -> float:
    return request.start
