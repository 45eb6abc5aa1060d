import sys

import pytest
from forward.otlp import DENIED, EVENT, requests, without_content
from hypothesis import given, settings
from hypothesis import strategies as st
from sink import REQUESTS

from otel_latency.forward import content
from otel_latency.forward._redact import CompiledRedactor
from otel_latency.forward.protobuf import encode_varint
from otel_latency.forward.redact import PythonRedactor, redactor
from otel_latency.records import Signal

BOTH = {"compiled": redactor(DENIED), "in Python": PythonRedactor(DENIED)}
both = pytest.mark.parametrize("cutter", BOTH.values(), ids=BOTH)


def field(number, value):
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def attribute(key, value="secret"):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def spans(*items):
    return field(1, field(2, b"".join(field(2, item) for item in items)))


def test_compiled():
    """These tests see the compiled one, and agents use it where it is there."""
    assert isinstance(BOTH["compiled"], CompiledRedactor)


@both
@pytest.mark.parametrize("signal", Signal)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_everything_else(cutter, signal, data):
    """What is denied goes from everywhere; the rest stays byte for byte, with unknown fields, lengths made right."""
    request = data.draw(requests(signal))
    assert without_content(request).SerializeToString() == cutter.redact(request.SerializeToString(), signal)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(Signal))
def test_damage(data, signal):
    """Whatever bytes come, both redactors do the same, and their result is not longer."""
    body = bytearray(data.draw(requests(signal)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4)) if body else 0):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(body[: data.draw(st.integers(0, len(body)))])

    def outcome(cutter):
        try:
            return cutter.redact(damaged, signal)
        except ValueError:
            return None

    found = [outcome(cutter) for cutter in BOTH.values()]
    assert found[0] == found[1]
    assert found[0] is None or len(found[0]) <= len(damaged)


@both
def test_nothing_to_cut(cutter):
    """A request without content is returned as it is, not a copy."""
    body = spans(field(9, attribute("http.method")), field(9, attribute("gen_ai.request.model")))
    assert cutter.redact(body, Signal.TRACES) is body


@both
def test_long_lengths(cutter):
    """Lengths written longer than needed are kept where nothing goes, and written anew around what does."""

    def long(number, value):
        return encode_varint(number << 3 | 2) + bytes([len(value) | 0x80, 0x80, 0x00]) + value

    kept = long(2, long(9, long(1, b"shop.cart")))
    cut = long(2, long(9, long(1, b"input.value")))
    assert field(1, field(2, kept + field(2, b""))) == cutter.redact(long(1, long(2, kept + cut)), Signal.TRACES)


UNREADABLE = {
    "an attribute that ends early": (field(9, b"\x0a\x7fshort"), b""),
    "a span that ends early": (field(9, attribute("shop.cart")) + b"\x4a\x7f", None),
    "a group": (field(9, attribute("shop.cart")) + b"\x0b", None),
}


@both
@pytest.mark.parametrize(("span", "left"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_goes(cutter, span, left):
    """What cannot be walked goes whole, for it may hide content; its neighbours stay."""
    neighbour = field(9, attribute("shop.cart"))
    expected = spans(neighbour) if left is None else spans(left, neighbour)
    assert expected == cutter.redact(spans(span, neighbour), Signal.TRACES)


@both
def test_no_message(cutter):
    """Bytes that are no request at all are an error."""
    with pytest.raises(ValueError):
        cutter.redact(b"\x0a\x7f", Signal.TRACES)


@both
def test_two_keys(cutter):
    """An attribute with two keys goes when one of them is denied: readers differ about which counts."""
    for keys in (("shop.cart", "input.value"), ("input.value", "shop.cart")):
        twice = b"".join(field(1, key.encode()) for key in keys)
        assert spans(b"") == cutter.redact(spans(field(9, twice)), Signal.TRACES)


@both
def test_name_behind_the_attributes(cutter):
    """A span event's name counts wherever it stands in the event."""
    event = field(3, attribute("content")) + field(3, attribute("gen_ai.system")) + field(2, EVENT.encode())
    left = field(3, attribute("gen_ai.system")) + field(2, EVENT.encode())
    assert spans(field(11, left)) == cutter.redact(spans(field(11, event)), Signal.TRACES)


@both
def test_every_listed_key(cutter):
    """Each key and prefix of the list is found by itself, and a letter less is not."""
    for key in (*DENIED.keys, *(prefix + b"0" for prefix in DENIED.prefixes)):
        assert spans(b"") == cutter.redact(spans(field(9, field(1, key))), Signal.TRACES), key
    for key in (b"input.valu", b"input.values", b"gen_ai.promp", b"shop.card"):
        body = spans(field(9, field(1, key)))
        assert body == cutter.redact(body, Signal.TRACES), key


def test_large():
    """A request of 4 MiB is cut in one go, and what is left can be read."""
    request = REQUESTS[Signal.TRACES]()
    scoped = request.resource_spans.add().scope_spans.add()
    for number in range(2000):
        span = scoped.spans.add(name=f"span {number}")
        span.attributes.add(key="gen_ai.output.messages").value.string_value = "canary" * 350
    left = BOTH["compiled"].redact(request.SerializeToString(), Signal.TRACES)
    read = REQUESTS[Signal.TRACES].FromString(left)
    assert [f"span {number}" for number in range(2000)] == [
        span.name for span in read.resource_spans[0].scope_spans[0].spans
    ]
    assert b"canary" not in left


def test_arguments():
    """The compiled one refuses what it was not made for, instead of crashing."""
    for wrong in ([], [1], ["text"], [b""]):
        with pytest.raises(TypeError):
            CompiledRedactor(wrong, [], [], b"event.name", b"gen_ai.") if wrong else CompiledRedactor()
    made = CompiledRedactor([], [], list(content.EVENTS), b"event.name", b"gen_ai.")
    for arguments in ((b"", None), (bytearray(), Signal.TRACES), (b"",)):
        with pytest.raises((TypeError, AttributeError)):
            made.redact(*arguments)
    with pytest.raises(RuntimeError):
        CompiledRedactor.__new__(CompiledRedactor).redact(b"", Signal.TRACES)


def test_without_compiler(monkeypatch):
    """Where the compiled one was not built, the one in Python serves."""
    monkeypatch.setitem(sys.modules, "otel_latency.forward._redact", None)
    assert isinstance(redactor(DENIED), PythonRedactor)
