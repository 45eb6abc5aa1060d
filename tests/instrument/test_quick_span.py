"""Quick spans, against what the SDK's do under the same treatment."""

from __future__ import annotations

import logging

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_latency.instrument.quick_span import QuickSpan, quick_tracer

OTHER = SpanContext(7, 8, is_remote=True)
REMOTE = SpanContext(1 << 100, 5, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "x")]))


class Counting(IdGenerator):
    def __init__(self):
        self.last = 0

    def generate_span_id(self):
        self.last += 1
        return self.last

    generate_trace_id = generate_span_id


class Odd:
    """What no span can carry."""

    def __str__(self):
        return "odd"


def failed(span):
    try:
        {}["secret"]
    except KeyError as fault:
        span.record_exception(fault, {"more": 1}, timestamp=30)


def late(span):
    span.end(90)
    span.set_attribute("late", 1)
    span.set_attributes({"late": 1})
    span.add_event("late")
    span.add_link(OTHER)
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.end(91)


def statuses(*given):
    return lambda span: [span.set_status(*each) for each in given]


SCRIPTS = {
    "nothing": lambda span: None,
    "attributes": lambda span: span.set_attributes({"a": 1, "b": "x", "c": 1.5, "d": True}),
    "one twice": lambda span: [span.set_attribute("a", value) for value in (1, "2")],
    "lists, maps, bytes and None": lambda span: span.set_attributes({"l": [1, 2], "m": {"k": 1}, "b": b"x", "n": None}),
    "an object": lambda span: span.set_attribute("odd", Odd()),
    "keys that are none": lambda span: span.set_attributes({"": 1, 5: 2, "good": 3}),
    "too many attributes": lambda span: [span.set_attribute(f"k{number}", number) for number in range(140)],
    "too many at once": lambda span: span.set_attributes({f"k{number}": number for number in range(140)}),
    "a full span told again": lambda span: [span.set_attributes({f"k{i}": i for i in range(128)}) for _ in range(2)],
    "events": lambda span: [span.add_event("plain", timestamp=20), span.add_event("more", {"a": [1]}, 21)],
    "too many events": lambda span: [span.add_event(f"e{number}", timestamp=number) for number in range(140)],
    "links": lambda span: [span.add_link(OTHER, {"a": 1}), span.add_link(trace.INVALID_SPAN_CONTEXT)],
    "another name": lambda span: span.update_name("other"),
    "an exception": failed,
    "an error": statuses((StatusCode.ERROR, "why")),
    "an error as an object": statuses((Status(StatusCode.ERROR, "why"),)),
    "fine after an error": statuses((StatusCode.ERROR, "why"), (StatusCode.OK,), (StatusCode.ERROR,)),
    "unset is no status": statuses((StatusCode.ERROR, "why"), (StatusCode.UNSET,)),
    "after the end": late,
}
STARTS = {
    "a root": {"name": "one"},
    "with attributes": {"name": "one", "attributes": {"a": "x", "l": ["y"]}, "kind": SpanKind.CLIENT},
    "under a remote parent": {
        "name": "one",
        "context": trace.set_span_in_context(trace.NonRecordingSpan(REMOTE), Context()),
    },
}


def told(make_tracer, start, script):
    """What processors hear of one span, as OTLP, and what it says of itself before its end and after."""
    provider = TracerProvider(id_generator=Counting(), shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = make_tracer(provider).start_span(**{"context": Context(), "start_time": 10, **start})
    script(span)
    attributes, is_recording = dict(span.attributes), span.is_recording()
    span.end(99)
    (ended,) = exporter.get_finished_spans()
    return str(encode_spans([ended])), attributes, is_recording, span.is_recording(), span.get_span_context()


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


def sdk_tracer(provider):
    return provider.get_tracer("t", "1")


def ours(provider):
    tracer = quick_tracer(provider, "t", "1", {})
    assert isinstance(tracer.start_span("probe", Context()), QuickSpan)
    provider.id_generator.last = 0
    return tracer


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_as_the_sdk_does(start, script):
    """Whatever is done to it, a span ends as the SDK's would."""
    assert told(sdk_tracer, start, script) == told(ours, start, script)


def test_a_child_of_ours():
    """Spans of ours and of the SDK's are each other's parents, and of one trace."""
    provider = TracerProvider(shutdown_on_exit=False)
    tracer, other = quick_tracer(provider, "t", "1", {}), provider.get_tracer("other")
    with trace.use_span(tracer.start_span("root")) as root, other.start_as_current_span("middle") as middle:
        leaf = tracer.start_span("leaf")
    assert [root.get_span_context(), middle.get_span_context()] == [middle.parent, leaf.parent]
    assert 1 == len({each.get_span_context().trace_id for each in (root, middle, leaf)})
    assert 1 == len({each.get_span_context().trace_flags for each in (root, middle, leaf)})


class Hearing(SpanProcessor):
    def __init__(self):
        self.heard = []

    def on_start(self, span, parent_context=None):
        span.set_attribute("from", "processor")
        self.heard.append(("start", span.name, span.kind, span.parent, dict(span.attributes), span.start_time))

    def on_end(self, span):
        self.heard.append(("end", type(span), span.resource, dict(span.attributes), span.end_time))


def test_processors():
    """A processor that is added later sees the span start and changes it, and gets the SDK's own span at the end."""
    provider, hearing = TracerProvider(shutdown_on_exit=False), Hearing()
    tracer = quick_tracer(provider, "t", "1", {})
    provider.add_span_processor(hearing)
    tracer.start_span("one", attributes={"a": 1}, start_time=10).end(20)
    attributes = {"a": 1, "from": "processor"}
    assert [
        ("start", "one", SpanKind.INTERNAL, None, attributes, 10),
        ("end", ReadableSpan, provider.resource, attributes, 20),
    ] == hearing.heard


UNUSUAL = {
    "a sampler": (TraceIdRatioBased(1.0), {}),
    "no sampling": (ALWAYS_OFF, {}),
    "a limit": (DEFAULT_ON, {"OTEL_SPAN_EVENT_COUNT_LIMIT": "5"}),
    "metrics of the SDK": (DEFAULT_ON, {"OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true"}),
}


@pytest.mark.parametrize(("sampler", "variables"), UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_not_as_usual(sampler, variables):
    """A provider with settings of its own gives the SDK's spans."""
    tracer = quick_tracer(TracerProvider(sampler=sampler, shutdown_on_exit=False), "t", "1", variables)
    assert not isinstance(tracer.start_span("one", Context()), QuickSpan)


def test_links_and_parents_that_are_not_sampled():
    """So do links, and a parent that the caller did not sample."""
    tracer = quick_tracer(TracerProvider(shutdown_on_exit=False), "t", "1", {})
    unsampled = trace.set_span_in_context(trace.NonRecordingSpan(SpanContext(1, 2, is_remote=True)), Context())
    linked, refused = tracer.start_span("a", Context(), links=[Link(OTHER)]), tracer.start_span("b", unsampled)
    assert [OTHER] == [link.context for link in linked.links]
    assert (False, 1) == (refused.is_recording(), refused.get_span_context().trace_id)
