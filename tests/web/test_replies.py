"""JSON that a strict parser takes."""

import json
from dataclasses import dataclass
from enum import Enum

from hypothesis import given
from hypothesis import strategies as st

from otel_latency.config.values import Secret
from otel_latency.records import CheckResult
from otel_latency.web.replies import reply, to_json


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text.decode("utf-8"), parse_constant=refuse)


payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner) | st.tuples(inner, inner),
)


@given(payload=payloads)
def test_anything_is_strict_json(payload):
    """NaN, infinities and lone surrogates never reach the wire."""
    strict(to_json(payload))


def test_what_becomes_of_the_odd_ones():
    """Numbers that are none are null, half a character is a question mark."""
    payload = {"nan": float("nan"), "inf": [float("-inf")], "text": "a\ud800b", "\udfff": (1, 2)}
    assert strict(to_json(payload)) == {"nan": None, "inf": [None], "text": "a?b", "?": [1, 2]}


def test_records_and_secrets():
    """A record shows its fields, a secret shows nothing."""

    class Colour(Enum):
        RED = "red"

    @dataclass(frozen=True)
    class Holder:
        token: Secret
        colour: Colour

    check = CheckResult("openai", up=False, seconds=0.5, time=1.0, required=True, error="timeout")
    assert strict(to_json([Holder(Secret("hunter2"), Colour.RED), check])) == [
        {"token": "***", "colour": "red"},
        {"name": "openai", "up": False, "seconds": 0.5, "time": 1.0, "required": True, "error": "timeout"},
    ]


def test_reply():
    """A reply says what it is."""
    response = reply({"a": 1}, status=503)
    assert (response.status, response.headers["Content-Type"], response.body) == (
        503,
        "application/json; charset=utf-8",
        b'{"a":1}',
    )
