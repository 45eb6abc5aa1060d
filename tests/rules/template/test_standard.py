import math

import pytest

from otel_latency.rules.template.instants import Instant
from otel_latency.rules.template.standard import STANDARD
from otel_latency.rules.template.values import Arguments, Byte, Context, Fault, Html, Vector, sample

SAMPLE = sample({"n": "1"}, 1.5)


def call(name, *operands, semantics=3):
    function = STANDARD[name]
    context = Context(semantics, "", None, None)
    return function.call(context, *operands) if function.needs_context else function.call(*operands)


ANSWERS = [
    ("eq", (1.5, 1.5), True),
    ("eq", ("a", "b", "a"), True),
    ("eq", (97, Byte(97)), True),
    ("eq", (Html("a"), "a"), True),
    ("eq", (None, None), True),
    ("eq", (1, None), False),
    ("eq", (SAMPLE, SAMPLE), True),
    ("eq", (SAMPLE, sample({"n": "1"}, 1.5)), False),
    ("ne", (1, 2), True),
    ("lt", ("é", "z"), False),
    ("le", (1.0, 1.0), True),
    ("gt", (math.nan, 1.0), True),
    ("ge", (math.nan, 1.0), True),
    ("not", (Instant(0),), False),
    ("not", ({},), True),
    ("index", ({"a": "b"}, "c"), ""),
    ("index", (Arguments(a={"b": "c"}), "a", "b"), "c"),
    ("index", ("é", 1), 0xA9),
    ("len", ("é",), 2),
    ("len", (Vector([SAMPLE]),), 1),
    ("slice", ("héllo", 0, 3), "hé"),
    ("slice", ("abc",), "abc"),
    ("slice", (Vector([SAMPLE, SAMPLE]), 1), [SAMPLE]),
    ("html", ("<", 1, 2), "&lt;1 2"),
    ("html", (None,), "&lt;no value&gt;"),
    ("js", ("'",), r"\'"),
    ("urlquery", ("a b",), "a+b"),
    ("print", (SAMPLE,), "&{map[n:1] 1.5}"),
]


@pytest.mark.parametrize(("name", "operands", "expected"), ANSWERS)
def test_answers(name, operands, expected):
    """A function answers as Go's does."""
    assert expected == call(name, *operands)


FAULTS = [
    ("eq", (1.5, 1), "incompatible types for comparison: float64 and int"),
    ("eq", ({}, {}), "non-comparable type map[]: map[string]string"),
    ("eq", ({}, SAMPLE), "non-comparable types map[]: map[string]string, *template.sample: &{map[n:1] 1.5}"),
    ("eq", (1,), "missing argument for comparison"),
    ("lt", (True, False), "invalid type for comparison"),
    ("lt", (None, 1), "invalid type for comparison"),
    ("index", (None, 1), "index of untyped nil"),
    ("index", ({"a": "b"}, 1), "value has type int; should be string"),
    ("index", (Arguments(), "a", "b"), "index of nil pointer"),
    ("index", ("abc", 4), "index out of range: 4"),
    ("index", ("abc", 3), "reflect: string index out of range"),
    ("index", (Vector(), None), "cannot index slice/array with nil"),
    ("slice", ("abc", 2, 1), "invalid slice index: 2 > 1"),
    ("slice", ("abc", 0, 1, 2), "cannot 3-index slice a string"),
    ("slice", ("abc", 0, 1, 2, 3), "too many slice indexes: 4"),
    ("slice", (Vector([SAMPLE]), 0, 1, 0), "invalid slice index: 1 > 0"),
    ("len", (1,), "len of type int"),
    ("call", (1,), "non-function of type int"),
]


@pytest.mark.parametrize(("name", "operands", "expected"), FAULTS)
def test_faults(name, operands, expected):
    """What a function cannot do it says in Go's words."""
    with pytest.raises(Fault) as fault:
        call(name, *operands)
    assert expected == str(fault.value)


def test_older_words():
    """Prometheus 2 does not name the types."""
    with pytest.raises(Fault, match=r"^incompatible types for comparison$"):
        call("eq", 1.5, 1, semantics=2)
