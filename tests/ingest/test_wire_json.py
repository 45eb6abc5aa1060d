"""The JSON half of the decoders: scalars by the rules of OTLP/JSON, and bodies that are refused as a whole."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from otel_latency.errors import BodyTooLarge, DecodeError
from otel_latency.ingest.wire import ItemError, attributes
from otel_latency.ingest.wire_json import (
    Base64,
    Double,
    HexId,
    Int64,
    KeyValue,
    Message,
    ResourceMessage,
    check_json,
    from_json,
    ignored_keys_warning,
    json_keys,
    json_resource,
    json_scope,
    parse_json,
)


class Item(Message):
    whole_number: Int64 = Int64()
    real: Double = Double()
    trace_id: HexId = HexId()
    raw: Base64 = Base64()
    texts: list[str | None] | None = None


GOOD = {
    "a number": ('{"wholeNumber": 5}', Item(whole_number=Int64(5))),
    "a number as text": ('{"wholeNumber": "18446744073709551615"}', Item(whole_number=Int64(2**64 - 1))),
    "a negative number as text": ('{"wholeNumber": "-1"}', Item(whole_number=Int64(-1))),
    "a whole number with an exponent": ('{"wholeNumber": 1e3}', Item(whole_number=Int64(1000))),
    "an infinity by name": ('{"real": "-Infinity"}', Item(real=Double("-inf"))),
    "a whole number for a double": ('{"real": 2}', Item(real=Double(2))),
    "a hex id in capitals": ('{"traceId": "5B8EFFF7"}', Item(trace_id=HexId(b"\x5b\x8e\xff\xf7"))),
    "base64": ('{"raw": "/+8="}', Item(raw=Base64(b"\xff\xef"))),
    "base64 for addresses, unpadded": ('{"raw": "_-8"}', Item(raw=Base64(b"\xff\xef"))),
    "nulls": ('{"wholeNumber": null, "real": null, "traceId": null, "raw": null, "texts": null}', Item()),
    "unknown keys": ('{"whole_number": 5, "other": {"wholeNumber": [[]]}}', Item()),
    "a long number nobody reads": ('{"other": ' + "1" * 5000 + "}", Item()),
}

BAD = {
    "5000 digits": '{"wholeNumber": ' + "1" * 5000 + "}",
    "5000 digits as text": '{"wholeNumber": "' + "1" * 5000 + '"}',
    "more than 64 bits": '{"wholeNumber": "18446744073709551616"}',
    "a fraction": '{"wholeNumber": 1.5}',
    "a truth for a number": '{"wholeNumber": true}',
    "not a number": '{"wholeNumber": "NaN"}',
    "a number out of range": '{"real": 1e999}',
    "an odd hex id": '{"traceId": "5B8"}',
    "a hex id with spaces": '{"traceId": "5B 8E FF"}',
    "a number for an id": '{"traceId": 5}',
    "not base64": '{"raw": "$$$$"}',
    "a list": "[]",
    "text": '"x"',
    "nothing": "",
    "truncated": '{"real": 1',
    "deep nesting": '{"other": ' + "[" * 5000,
}


@pytest.mark.parametrize(("text", "item"), GOOD.values(), ids=GOOD)
def test_good_items(text, item):
    """OTLP/JSON may be spelt in many ways and means the same."""
    assert item == from_json(Item, text.encode())


def test_not_a_number_by_name():
    """NaN, which equals nothing, is read as well."""
    assert "nan" == str(from_json(Item, b'{"real": "NaN"}').real)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_items(text):
    """What cannot be read costs that item, with a reason that quotes nothing."""
    with pytest.raises(ItemError, match=r"^malformed$"):
        from_json(Item, text.encode())


SURROGATES = {
    "a high one alone": (r"\ud800x", "\ufffdx"),
    "a low one alone": (r"x\uDfFf", "x\ufffd"),
    "two high ones": (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    "a pair": (r"\ud83d\ude00\ud800", "\U0001f600\ufffd"),
    "an escaped backslash": (r"\\ud800 \\\ud800", "\\ud800 \\\ufffd"),
    "none": (r"\u00e9\n", "\u00e9\n"),
}


@pytest.mark.parametrize(("text", "expected"), SURROGATES.values(), ids=SURROGATES)
@pytest.mark.parametrize("padding", [0, 65_530, 200_000])
def test_lone_surrogates(text, expected, padding):
    """Half a surrogate pair is replaced wherever it stands; whole pairs and escaped backslashes are not."""
    body = f'{{"other": [{"1," * (padding // 2)}1], "texts": ["{text}", "{text}"]}}'
    assert [expected, expected] == parse_json(body.encode(), Item, arrays={9}).texts


def test_mending_is_bounded():
    """Surrogates are not looked for in one text of megabytes."""
    with pytest.raises(DecodeError):
        parse_json(rb'{"texts": ["\ud800' + rb"\\" * 1_000_000 + b'"]}', Item, arrays={2})


def test_item_too_large():
    """64 KiB is the most that one item may have, unless the caller allows more."""
    text = b'{"other": "' + b"x" * 65_536 + b'"}'
    assert Item() == from_json(Item, text, len(text))
    with pytest.raises(ItemError, match="too_large"):
        from_json(Item, text)


def test_values():
    """Attributes in JSON become the same Python values as in protobuf."""
    text = json.dumps(
        {
            "attributes": [
                {"key": "text", "value": {"stringValue": ""}},
                {"key": "whole", "value": {"intValue": "-7"}},
                {"key": "real", "value": {"doubleValue": "Infinity"}},
                {"key": "raw", "value": {"bytesValue": "AA=="}},
                {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": False}, {}, None]}}},
                {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": 1}}]}}},
                {"key": "nothing", "value": {}},
                {"key": "null", "value": None},
            ]
        }
    )
    expected = {
        "text": "",
        "whole": -7,
        "real": float("inf"),
        "raw": b"\x00",
        "list": [False, None, None],
        "map": {"k": 1},
        "nothing": None,
        "null": None,
    }
    assert expected == attributes(from_json(ResourceMessage, text.encode()).attributes)


@pytest.mark.parametrize("missing", [b"{}", b"null", b""])
def test_resource_may_be_missing(missing):
    """No resource and no scope is no error."""
    assert "unknown_service" == json_scope(json_resource(Raw(missing)), Raw(missing)).service


def test_unreadable_resource():
    """A resource of the wrong shape is told apart from none."""
    assert json_resource(Raw(b'{"attributes": 5}')) is None
    assert json_scope(None, Raw(b"{}")) is None
    assert json_scope(json_resource(Raw(b"{}")), Raw(b'{"name": 5}')) is None


@pytest.mark.parametrize(("depth", "is_refused"), [(100, False), (101, True), (1_000_000, True)])
def test_depth(depth, is_refused):
    """More than 100 levels are refused; brackets inside strings and behind escaped quotes are none."""
    padding = '"' + '\\"[[{' * 30_000 + '"'
    body = ("[" * (depth - 1) + f"[{padding}]" + "]" * (depth - 1)).encode()
    if not is_refused:
        check_json(body, {2})
        return
    with pytest.raises(DecodeError, match="nested deeper than 100"):
        check_json(body, {2})


def test_invalid_utf8():
    """Bytes that are not UTF-8 are found wherever they are, a character across two chunks is not."""
    check_json(b'"' + b"x" * 65_534 + "é".encode() + b'"', {2})
    with pytest.raises(DecodeError, match="not UTF-8"):
        check_json(b'{"a": "' + b"x" * 70_000 + b'\xff"}', {2})
    with pytest.raises(DecodeError, match="not UTF-8"):
        check_json(b'"\xc3', {2})


BOMBS = {
    "empty objects": b'{"a":[' + b",".join([b"{}"] * 1_398_000) + b"]}",
    "numbers": b'{"a":[' + b",".join([b"1"] * 2_097_000) + b"]}",
    "empty texts": b'{"a":[' + b",".join([b'""'] * 1_398_000) + b"]}",
    "brackets": b"[" * 4_194_304,
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_bombs(body):
    """4 MiB of nothing are refused before anything is made of them."""
    tracemalloc.start()
    with pytest.raises(DecodeError):
        check_json(body, {2})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("body", [b'{"x":"' + b'\\"' * 2_000_000 + b'"}', b'{"x":"' + b"\\" * 4_000_000])
def test_escapes_do_not_grow_memory(body):
    """Text made of escapes only is checked piece by piece."""
    tracemalloc.start()
    check_json(body, {2})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_elements_elsewhere_are_not_counted():
    """Only the request's own arrays are limited: data below them is up to the items."""
    inner = b"[" + b",".join([b"1"] * 50_000) + b"]"
    check_json(b'{"a":[{"b":' + inner + b"}]}", {2})
    with pytest.raises(BodyTooLarge):
        check_json(b'{"a":' + inner + b"}", {2})


def test_elements_in_all():
    """No body of 4 MiB that says something has 600,000 commas."""
    with pytest.raises(BodyTooLarge):
        check_json(b'{"a":[{"b":[' + b",".join([b"{}"] * 600_002) + b"]}]}", {2})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=20,
)


@given(JSON_VALUES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_json_passes_the_check(value, ascii_only):
    """The check finds no fault with shallow JSON, whatever characters are in it."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    check_json(text.encode("utf-8", "replace"), {1, 2})


def test_ignored_keys():
    """A sender that used snake_case is told which keys meant nothing, and none of its values."""
    body = b'{"resource_spans": [{"scope_spans": [], "resource": {"attributes": [{"key": "secret_key: x"}]}}]}'
    expected = (
        "nothing was taken from this request; ignored keys: resource_spans, scope_spans, resource "
        "(OTLP/JSON uses lowerCamelCase)"
    )
    assert expected == ignored_keys_warning(body, json_keys(KeyValue))


def test_no_warning_without_ignored_keys():
    """An empty request is legal and needs no words."""
    assert "" == ignored_keys_warning(b'{"attributes": []}', json_keys())
