"""Spans as OTLP, against what the SDK's encoder makes of them."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.span import NonRecordingSpan

from otel_latency.instrument import encode
from otel_latency.instrument.encode import SpanEncoder
from otel_latency.instrument.guard import guard

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1)
SCALARS = st.one_of(TEXT, st.booleans(), NUMBERS, st.floats(allow_nan=False), st.binary(max_size=20), st.none())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=8)
TIMES = st.integers(0, (1 << 63) - 1)
STATES = st.sampled_from([None, TraceState([("vendor", "value"), ("other", "1")])])
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.just(TraceFlags(TraceFlags.SAMPLED)),
    STATES,
)
STATUSES = st.sampled_from(
    [None, Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "no answer, ä")]
)


def provider(attributes=None, schema_url="", limits=None):
    """A provider, and where its spans end up."""
    exporter = InMemorySpanExporter()
    made = TracerProvider(resource=Resource(attributes or {}, schema_url), span_limits=limits, shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made, exporter


@pytest.fixture(autouse=True)
def quiet(caplog):
    """The SDK says on its log what its limits drop."""
    caplog.set_level("CRITICAL")


@st.composite
def spans(draw):
    """A span of each of some scopes and resources, ended as the SDK ends them."""
    few = SpanLimits(max_span_attributes=4, max_events=2, max_links=1, max_event_attributes=1, max_link_attributes=1)
    ended = []
    for _ in range(draw(st.integers(1, 3))):
        made, exporter = provider(draw(ATTRIBUTES), draw(st.sampled_from(["", "http://schema"])), draw(st.just(few)))
        tracer = made.get_tracer("t", draw(st.sampled_from([None, "1.0"])), draw(st.sampled_from([None, "http://s"])))
        for _ in range(draw(st.integers(1, 3))):
            parent = draw(st.one_of(st.none(), CONTEXTS))
            around = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
            links = [Link(each, draw(ATTRIBUTES)) for each in draw(st.lists(CONTEXTS, max_size=2))]
            kind = draw(st.sampled_from(SpanKind))
            span = tracer.start_span(draw(TEXT), around, kind, draw(ATTRIBUTES), links, draw(TIMES))
            for _ in range(draw(st.integers(0, 3))):
                span.add_event(draw(TEXT), draw(st.one_of(st.none(), ATTRIBUTES)), draw(TIMES))
            status = draw(STATUSES)
            if status is not None:
                span.set_status(status)
            span.end(draw(TIMES))
        ended += exporter.get_finished_spans()
    return ended


def decoded(body):
    return ExportTraceServiceRequest.FromString(body)


def encoded(span, encoder=None):
    encoder = encoder or SpanEncoder()
    return encoder.body([encoder.row(span)])


@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # the SDK makes ids with it
@given(st.lists(spans(), min_size=1, max_size=2))
def test_as_the_sdk_encodes(batches):
    """Every batch reads like the SDK's, whatever was remembered of the ones before."""
    encoder = SpanEncoder()
    for batch in batches * 2:
        expected = ExportTraceServiceRequest.FromString(encode_spans(batch).SerializeToString())
        assert expected == decoded(encoder.body(map(encoder.row, batch)))


def ended_span(**attributes):
    made, exporter = provider()
    made.get_tracer("t").start_span("one", attributes=attributes).end()
    return exporter.get_finished_spans()[0]


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, [1 << 70]], ids=["high", "low", "in a list"])
def test_values_that_otlp_has_not(value):
    """An integer of more than 64 bits is left out alone, and counted."""
    span = decoded(encoded(ended_span(big=value, small=1))).resource_spans[0].scope_spans[0].spans[0]
    assert (["small"], 1) == ([each.key for each in span.attributes], guard.faults.pop("encode"))


def test_half_a_surrogate_pair():
    """Text that UTF-8 cannot hold arrives with a question mark in it."""
    span = decoded(encoded(ended_span(text="a\ud800b"))).resource_spans[0].scope_spans[0].spans[0]
    assert "a?b" == span.attributes[0].value.string_value


def test_equal_values_of_other_types():
    """1, 1.0 and True are three values, though they are equal and remembered."""
    encoder = SpanEncoder()
    kinds = [
        decoded(encoded(ended_span(one=value), encoder))
        .resource_spans[0]
        .scope_spans[0]
        .spans[0]
        .attributes[0]
        .value.WhichOneof("value")
        for value in (1, True, 1.0, "1", 1)
    ]
    assert ["int_value", "bool_value", "double_value", "string_value", "int_value"] == kinds


def test_memory_is_bounded(monkeypatch):
    """However many values and names there are, only so many are remembered, and long ones not at all."""
    monkeypatch.setattr(encode, "MAX_KNOWN", 10)
    encoder, resource = SpanEncoder(), Resource({})
    for number in range(100):
        context = SpanContext(1, 1, is_remote=False)
        name, attributes = f"span {number}", {f"key {number}": "text", "k": number / 7, "n": number, "long": "x" * 999}
        scope = InstrumentationScope("one for each span")
        options = {"attributes": attributes, "instrumentation_scope": scope, "start_time": 1, "end_time": 2}
        encoder.row(ReadableSpan(name, context, resource=resource, **options))
    remembered = encoder._names, encoder._attributes._known, encoder._attributes._heads
    assert all(0 < len(each) <= 10 for each in remembered)
    assert (1, 10) == (len(encoder._places), len(encoder._kept))
    assert max(len(part) for part in encoder._attributes._known.values()) <= encode.MAX_LENGTH


def test_a_row_is_nothing_to_collect():
    """What waits in the queue is no work for the garbage collector."""
    row = SpanEncoder().row(ended_span(a=1))
    gc.collect()
    assert (False, [int, bytes]) == (gc.is_tracked(row), [type(each) for each in row])
