import json
from base64 import b64decode
from pathlib import Path

import pytest
from forward.otlp import requests
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from sink import REQUESTS

from otel_latency.forward.convert import to_protobuf
from otel_latency.records import Signal

EXAMPLES = Path(__file__).parents[1] / "ingest" / "testdata" / "otlp"
IDS = {"traceId", "spanId", "parentSpanId"}


def as_otlp(value):
    """protobuf's JSON as OTLP's: ids in hexadecimal."""
    if isinstance(value, dict):
        return {k: b64decode(v).hex() if k in IDS else as_otlp(v) for k, v in value.items()}
    return [as_otlp(inner) for inner in value] if isinstance(value, list) else value


def converted(written, signal=Signal.TRACES):
    return REQUESTS[signal].FromString(to_protobuf(json.dumps(written).encode(), signal))


def span(**fields):
    written = {"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}
    return converted(written).resource_spans[0].scope_spans[0].spans[0]


@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_everything(signal, data):
    """A request written by OTLP's rules is the same request in protobuf."""
    request = data.draw(requests(signal))
    request.DiscardUnknownFields()
    written = as_otlp(MessageToDict(request, use_integers_for_enums=data.draw(st.booleans())))
    assert request == converted(written, signal)


@pytest.mark.parametrize(
    ("name", "signal"), [("trace", Signal.TRACES), ("metrics", Signal.METRICS), ("logs", Signal.LOGS)]
)
def test_examples(name, signal):
    """The examples of the specification lose nothing."""
    written = json.loads((EXAMPLES / f"{name}.json").read_text())
    again = as_otlp(MessageToDict(converted(written, signal), use_integers_for_enums=True))
    assert sorted(_leaves(written)) == sorted(_leaves(again))


def _leaves(value):
    """Every scalar but nought, as text: both spellings of a number are one; ids in one case."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    if value in (0, "0"):
        return []
    return [str(float(value)) if str(value).isdigit() or isinstance(value, float) else str(value).lower()]


def test_spellings():
    """Numbers as text or not, enums by number or name, ids in any case, null for the default."""
    found = span(startTimeUnixNano="5", endTimeUnixNano=6, kind="SPAN_KIND_CLIENT", traceId="AB" * 16, name=None)
    assert (5, 6, 3, b"\xab" * 16, "") == (
        found.start_time_unix_nano,
        found.end_time_unix_nano,
        found.kind,
        found.trace_id,
        found.name,
    )


def test_misfits():
    """A field that does not fit is left out, and unknown ones are; the rest of the span is there."""
    wrong = {"kind": "NO_SUCH_KIND", "traceId": "xyz", "startTimeUnixNano": 1.5, "flags": 1 << 70, "attributes": "x"}
    found = span(name="chat", events=[None, 5], status=[], unknown={"a": 1}, **wrong)
    assert ("chat", 0, b"", 0, 0, 0, 2) == (
        found.name,
        found.kind,
        found.trace_id,
        found.start_time_unix_nano,
        found.flags,
        len(found.attributes),
        len(found.events),
    )


def test_lone_surrogate():
    """Half of a surrogate pair does not cost the request."""
    assert "a?b" == span(name="a\ud800b").name


def test_no_json():
    """What is no JSON is an error that does not quote it."""
    for body in (b"canary", b"[" * 200_000):
        with pytest.raises(ValueError, match=r"^the JSON is malformed$"):
            to_protobuf(body, Signal.TRACES)
