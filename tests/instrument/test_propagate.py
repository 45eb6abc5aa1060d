"""Trace, session and request id from one process to the next."""

from __future__ import annotations

import json

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, get_current

from otel_latency.instrument.propagate import extract, inject
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn


def test_headers(spans):
    """What goes out is traceparent and baggage as the W3C writes them."""
    with turn("answer", session="s 1", request_id="r1") as around:
        headers = inject({"accept": "*/*"})
    context = around.span_context
    assert {
        "accept": "*/*",
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}",
        "baggage": "session.id=s+1,otel_latency.request_id=r1",
    } == headers


def test_payload_field(spans):
    """A message carries it as one more field that JSON takes; the consumer's span joins the trace."""
    with turn("answer", session="s1", request_id="r1"):
        message = json.loads(json.dumps(inject({"job": 7}, field="_trace")))
    assert {"job", "_trace"} == set(message)
    with extract(message, field="_trace"), turn("work") as work:
        assert ("s1", "r1") == (work.session, work.request_id)
    assert spans[0].context.trace_id == spans[1].context.trace_id


def test_header_names_in_any_case(spans):
    """HTTP header names have no case."""
    with turn("answer"):
        headers = {name.title(): value for name, value in inject({}).items()}
    with extract(headers), stage("step"):
        pass
    assert spans[0].context.span_id == spans[1].parent.span_id


def test_foreign_baggage_stays_home(spans):
    """Baggage that is not ours is neither sent on nor taken in; what the application set itself it keeps."""
    attach(baggage.set_baggage("email", "me@example.org"))
    with turn("answer", request_id="r1"):
        assert "otel_latency.request_id=r1" == inject({})["baggage"]
    with extract({"baggage": "email=you@example.org,card=1234,session.id=s1"}):
        assert {"email": "you@example.org", "session.id": "s1"} == dict(baggage.get_all())


@pytest.mark.parametrize(
    "carrier", [{}, {"traceparent": "nonsense"}, {"traceparent": 7, 8: "x"}, {"baggage": "=;,%"}, {"traceparent": None}]
)
def test_nonsense_changes_nothing(spans, carrier):
    """A carrier that says nothing useful starts a trace of its own."""
    with extract(carrier), stage("step"):
        pass
    assert None is spans[0].parent


@pytest.mark.parametrize("message", [{}, {"_trace": None}, {"_trace": "text"}, {"_trace": []}])
def test_no_such_field(spans, message):
    """So does a message without the field, or with another thing in it."""
    with extract(message, field="_trace"), stage("step"):
        pass
    assert None is spans[0].parent


def test_afterwards_nothing_is_left(spans):
    """The sender's trace is current within the block alone."""
    with turn("answer"):
        headers = inject({})
    with extract(headers):
        assert {} != get_current()
    assert {} == get_current()


def test_nothing_to_inject():
    """Without a span there is nothing to say, and the carrier stays as it was."""
    assert {"a": 1} == inject({"a": 1}, field="_trace")
