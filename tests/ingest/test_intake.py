"""Whatever comes in is handed on or counted as refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from otel_latency.errors import DecodeError
from otel_latency.ingest.intake import Intake, Outcome, Signal

EXAMPLES = Path(__file__).with_name("testdata") / "otlp"


class Taken:
    """An intake with lists at its ends."""

    def __init__(self) -> None:
        self.spans: list = []
        self.points: list = []
        self.operations: list = []
        self.intake = Intake(spans=self.spans.extend, points=self.points.extend, operations=self.operations.extend)

    def accept(self, signal: Signal, body: bytes | dict, transport: str = "http") -> Outcome:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.intake.accept(signal, encoded, is_json=True, transport=transport)


@pytest.fixture
def taken() -> Taken:
    return Taken()


def spans(*each: dict) -> dict:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(each)}]}]}


GOOD = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "x"}


@pytest.mark.parametrize(
    ("file", "signal", "count"),
    [
        ("trace.json", Signal.TRACES, 1),
        ("metrics.json", Signal.METRICS, 4),
        ("logs.json", Signal.LOGS, 1),
        ("events.json", Signal.LOGS, 1),
    ],
)
def test_the_official_examples_are_taken_whole(taken, file, signal, count):
    """And each item is counted."""
    assert taken.accept(signal, (EXAMPLES / file).read_bytes()) == Outcome()
    assert taken.intake.received == {(signal, "http"): count}
    assert not taken.intake.rejected


def test_refused_items_are_counted_and_told(taken):
    """The sender learns how many and why; the good ones are taken."""
    outcome = taken.accept(Signal.TRACES, spans(GOOD, {"traceId": "00"}, GOOD | {"spanId": ""}, {}), "grpc")
    assert outcome == Outcome(3, "invalid_span_id: 1; invalid_trace_id: 2")
    assert len(taken.spans) == 1
    assert taken.intake.received == {(Signal.TRACES, "grpc"): 4}
    assert taken.intake.rejected == {(Signal.TRACES, "invalid_trace_id"): 2, (Signal.TRACES, "invalid_span_id"): 1}


def test_a_request_in_which_nothing_was_found_warns_of_its_keys(taken):
    """snake_case is the classic: all is accepted, nothing arrives, and nobody knows why."""
    outcome = taken.accept(Signal.TRACES, {"resource_spans": [{"scope_spans": [{"spans": [GOOD]}]}]})
    assert outcome.rejected == 0
    assert "resource_spans" in outcome.message


def test_refused_spans_warn_of_their_keys_too(taken):
    """Ids under keys that we do not know are missing ids, and the reason alone would not say so."""
    outcome = taken.accept(Signal.TRACES, spans({"trace_id": "ab" * 16, "span_id": "cd" * 8, "name": "x"}))
    assert outcome == Outcome(
        1,
        "invalid_trace_id: 1; nothing was taken from this request; "
        "ignored keys: trace_id, span_id (OTLP/JSON uses lowerCamelCase)",
    )


def test_an_empty_request_is_fine(taken):
    """Without a word."""
    assert taken.accept(Signal.TRACES, {}) == Outcome()
    assert taken.intake.accept(Signal.TRACES, b"", is_json=False, transport="http") == Outcome()


def test_what_cannot_be_read_is_not_counted(taken):
    """It has no items that anybody could count; the request itself was one."""
    with pytest.raises(DecodeError):
        taken.accept(Signal.METRICS, b"{")
    assert taken.intake.requests == 1
    assert not taken.intake.received
