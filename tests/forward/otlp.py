"""Requests of every shape for Hypothesis, and what is to be left of them, by the generated classes of protobuf."""

from __future__ import annotations

from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from sink import REQUESTS

from otel_latency.forward import content
from otel_latency.records import Signal

DENIED = content.denied(["shop.card.*"])
EVENT = "gen_ai.user.message"
KEYS = (
    "gen_ai.input.messages",
    "gen_ai.prompt.0.content",
    "input.value",
    "shop.card.number",
    "http.request.header.authorization",
    "gen_ai.request.model",
    "shop.cart",
    "event.name",
    "content",
    "é",
    "",
)
TEXTS = ("", "hello", EVENT, "input.value", "\n\x12gen_ai.input.messages", "x" * 200)
UNKNOWN = b"\xfa\x3f\x05hello" + b"\xf8\x3f\x07"
"""Two fields that nobody knows, numbered 1023."""


def values():
    texts = st.sampled_from(TEXTS).map(lambda text: AnyValue(string_value=text))
    simple = texts | st.integers(-(2**63), 2**63 - 1).map(lambda number: AnyValue(int_value=number))
    nested = st.sampled_from(KEYS).map(_nested)
    return simple | nested | st.just(AnyValue())


def _nested(key):
    value = AnyValue()
    value.kvlist_value.values.add(key=key).value.string_value = "kept"
    return value


@st.composite
def requests(draw, signal):
    """A request of *signal* with attributes in all places where there can be some."""
    request = REQUESTS[signal]()
    flags = st.booleans()

    def put(attributes):
        pairs = draw(st.lists(st.tuples(st.sampled_from(KEYS), values()), max_size=3))
        attributes.extend(KeyValue(key=key, value=value) for key, value in pairs)

    def strange(message):
        if draw(flags):
            message.MergeFromString(UNKNOWN)

    for _ in range(draw(st.integers(1, 2))):
        outer = getattr(request, f"resource_{_STEMS[signal]}").add()
        put(outer.resource.attributes)
        strange(outer.resource)
        scoped = getattr(outer, f"scope_{_STEMS[signal]}").add(schema_url="https://example.com")
        put(scoped.scope.attributes)
        for _ in range(draw(st.integers(0, 2))):
            _FILL[signal](scoped, draw, put, strange)
        strange(scoped)
    return request


def _span(scoped, draw, put, strange):
    span = scoped.spans.add(name="chat", trace_id=b"t" * 16, start_time_unix_nano=1)
    put(span.attributes)
    if draw(st.booleans()):
        event = span.events.add(name=draw(st.sampled_from(["first_token", EVENT])), time_unix_nano=2)
        put(event.attributes)
        strange(event)
    if draw(st.booleans()):
        put(span.links.add(span_id=b"s" * 8).attributes)
    strange(span)


def _record(scoped, draw, put, strange):
    record = scoped.log_records.add(event_name=draw(st.sampled_from(["", "other", EVENT])))
    if draw(st.booleans()):
        record.body.CopyFrom(draw(values()))
    put(record.attributes)
    strange(record)


def _metric(scoped, draw, put, strange):
    metric = scoped.metrics.add(name="m", unit="s")
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary"]))
    point = getattr(metric, kind).data_points.add(time_unix_nano=3)
    put(point.attributes)
    if kind != "summary":
        put(point.exemplars.add(as_double=1.5).filtered_attributes)
    put(metric.metadata)
    strange(point)


_STEMS = {Signal.TRACES: "spans", Signal.METRICS: "metrics", Signal.LOGS: "logs"}
_FILL = {Signal.TRACES: _span, Signal.METRICS: _metric, Signal.LOGS: _record}


def without_content(request):
    """The same request without content, by walking through all of its fields."""
    kept = type(request)()
    kept.CopyFrom(request)
    _strip(kept)
    return kept


def _strip(message):
    name = message.DESCRIPTOR.name
    if name == "LogRecord" and (message.event_name == EVENT or _named_by_attribute(message)):
        message.ClearField("body")
    for field, value in message.ListFields():
        if field.name in {"attributes", "filtered_attributes", "metadata"}:
            is_event = name == "Event" and message.name == EVENT
            for index in reversed(range(len(value))):
                if _goes(value[index].key, is_event):
                    del value[index]
        elif field.message_type and field.message_type.name not in {"AnyValue", "KeyValue"}:
            for inner in value if field.is_repeated else [value]:
                _strip(inner)


def _goes(key, is_event):
    return key.encode() in DENIED or (is_event and not key.startswith("gen_ai."))


def _named_by_attribute(record):
    return any(pair.key == "event.name" and pair.value.string_value == EVENT for pair in record.attributes)
