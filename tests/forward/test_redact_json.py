import json

import pytest
from forward.otlp import DENIED, EVENT, requests, without_content
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_latency.forward.redact_json import redact_json
from otel_latency.records import Signal


def attributes(*keys):
    return {"attributes": [{"key": key, "value": {"stringValue": 'a "},] b'}} for key in keys]}


def left_of(written, **layout):
    return json.loads(redact_json(json.dumps(written, **layout).encode(), DENIED))


@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_everything_else(signal, data):
    """What is denied goes from everywhere, in any layout, and the rest says what it said."""
    request = data.draw(requests(signal))
    layout = data.draw(st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"sort_keys": True}]))
    expected = MessageToDict(without_content(request))
    assert expected == _without_empty(left_of(MessageToDict(request), **layout))


def _without_empty(value):
    """Empty lists and null are how JSON says what protobuf leaves out."""
    if isinstance(value, dict):
        pairs = {key: _without_empty(inner) for key, inner in value.items() if inner is not None}
        return {key: inner for key, inner in pairs.items() if inner != [] or key not in _LISTS}
    return [_without_empty(inner) for inner in value] if isinstance(value, list) else value


_LISTS = {"attributes", "filteredAttributes", "metadata"}

ORDERS = {
    "first": (["input.value", "a", "b"], ["a", "b"]),
    "middle": (["a", "input.value", "b"], ["a", "b"]),
    "last": (["a", "b", "input.value"], ["a", "b"]),
    "several at the end": (["a", "input.value", "output.value"], ["a"]),
    "all": (["input.value", "output.value"], []),
    "mixed": (["input.value", "a", "output.value", "b", "input.value"], ["a", "b"]),
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("keys", "kept"), ORDERS.values(), ids=ORDERS)
def test_commas(keys, kept, indent):
    """Wherever an attribute stands in its list, what is left is JSON."""
    assert attributes(*kept) == left_of(attributes(*keys), indent=indent)


def test_nothing_to_cut():
    """A request without content is returned as it is."""
    body = json.dumps(attributes("a", "b"), indent=1).encode()
    assert redact_json(body, DENIED) is body


def test_characters_stay():
    """Around what goes, every character stays: numbers, white space, escapes, unknown keys."""
    body = b'{ "x" : 1.50e1,"attributes":[ {"key":"a\\u0062","value":{}} , {"key":"input.value"}\n], "\\u00e9":null }'
    expected = b'{ "x" : 1.50e1,"attributes":[ {"key":"a\\u0062","value":{}} ], "\\u00e9":null }'
    assert expected == redact_json(body, DENIED)


def test_escaped_key():
    """A key written with escapes is the same key."""
    body = rb'{"attributes":[{"key":"input\u002evalue","value":{"stringValue":"secret"}}]}'
    assert b'{"attributes":[]}' == redact_json(body, DENIED)


def test_escaped_member():
    """So is the name of a member."""
    body = rb'{"attribut\u0065s":[{"k\u0065y":"input.value"}]}'
    assert rb'{"attribut\u0065s":[]}' == redact_json(body, DENIED)


@pytest.mark.parametrize("name", ["eventName", "event_name"])
def test_other_spelling(name):
    """Fields by the names of the `.proto` files, which some readers take, hide nothing."""
    request = {"log_records": [{"body": {"string_value": "secret"}, name: EVENT}]}
    assert {"log_records": [{"body": None, name: EVENT}]} == left_of(request)
    assert {"filtered_attributes": []} == left_of({"filtered_attributes": [{"key": "input.value"}]})


@pytest.mark.parametrize("broken", [b'{"a":[}', b"{", b"]", b'{"a":1}}'])
def test_no_json(broken):
    """What is no JSON is an error."""
    with pytest.raises(ValueError):
        redact_json(broken, DENIED)


def test_deep_and_long():
    """Neither depth nor a long text costs more than its length."""
    assert redact_json(b"[" * 10_000 + b"]" * 10_000, DENIED)
    assert redact_json(b'{"a":"' + b"\\\\" * 300_000 + b'"}', DENIED)
