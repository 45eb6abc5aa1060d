import math

import pytest

from otel_latency.rules.template.functions import FUNCTIONS, to_float
from otel_latency.rules.template.values import Arguments, Context, Fault, Vector, sample, type_name

CONTEXT = Context(3, "http://x.example/p", lambda _: [({"b": "c"}, 2.0)], 5.0)


def call(name, *operands):
    function = FUNCTIONS[name]
    return function.call(CONTEXT, *operands) if function.needs_context else function.call(*operands)


ANSWERS = [
    ("reReplaceAll", ("x*", "-", "axxb"), "-a-b-"),
    ("reReplaceAll", ("(?P<n>b)|c", "<${n}$9$$>", "abc"), "a<b$><$>"),
    ("reReplaceAll", ("a.c", "x", "a\nc"), "a\nc"),
    ("match", ("b", "abc"), True),
    ("title", ("it's a_b é x-y",), "It'S A_b É X-Y"),
    ("toUpper", ("straße",), "STRAßE"),
    ("toLower", ("ÀİΣ",), "àiσ"),
    ("stripPort", ("[::1]:80",), "::1"),
    ("stripPort", ("a:b:c",), "a:b:c"),
    ("stripDomain", ("web.example.com:80",), "web:80"),
    ("stripDomain", ("::1",), "::1"),
    ("stripDomain", ("10.0.0.1:80",), "10.0.0.1:80"),
    ("args", (1, "a"), Arguments(arg0=1, arg1="a")),
    ("parseDuration", ("1d12h",), 129600.0),
    ("parseDuration", ("250ms",), 0.25),
    ("graphLink", ('a{b="c"}',), "/graph?g0.expr=a%7Bb%3D%22c%22%7D&g0.tab=0"),
    ("tableLink", ("x",), "/graph?g0.expr=x&g0.tab=1"),
    ("pathPrefix", (), "/p"),
    ("now", (), 5.0),
    ("strvalue", (sample({"__value__": "x"}, 1.0),), "x"),
    ("humanizeTimestamp", (math.inf,), "+Inf"),
]


@pytest.mark.parametrize(("name", "operands", "expected"), ANSWERS)
def test_answers(name, operands, expected):
    """A function answers as Prometheus' does."""
    assert expected == call(name, *operands)


FAULTS = [
    ("first", (Vector(),), "first() called on vector with no elements"),
    ("first", (None,), "first() called on vector with no elements"),
    ("value", (None,), "runtime error: invalid memory address or nil pointer dereference"),
    ("match", ("(", "x"), "error parsing regexp: missing closing ): `(`"),
    ("reReplaceAll", ("(", "x", "y"), "regexp: Compile(`(`): error parsing regexp: missing closing ): `(`"),
    ("parseDuration", ("5m1h",), 'not a valid duration string: "5m1h"'),
    ("parseDuration", ("",), "empty duration string"),
    ("parseDuration", ("400y",), "duration out of range"),
    ("toTime", (math.nan,), "value is NaN or Inf"),
    ("toTime", (1e10,), "1e+10 cannot be represented as a nanoseconds timestamp since it overflows int64"),
]


@pytest.mark.parametrize(("name", "operands", "expected"), FAULTS)
def test_faults(name, operands, expected):
    """What a function cannot do it says in Prometheus' words."""
    with pytest.raises(Fault) as fault:
        call(name, *operands)
    assert expected == str(fault.value)


def test_query():
    """A query answers samples, with labels of their own."""
    (found,) = call("query", "a")
    assert (type_name(found), found.fields) == ("*template.sample", {"Labels": {"b": "c"}, "Value": 2.0})


def test_sort_by_label():
    """Sorting is by the label's bytes, stable, and missing labels come first."""
    samples = [
        sample(labels, value) for labels, value in [({"a": "é"}, 1.0), ({"a": "z"}, 2.0), ({}, 3.0), ({"a": "z"}, 4.0)]
    ]
    assert [found.fields["Value"] for found in call("sortByLabel", "a", Vector(samples))] == [3.0, 2.0, 4.0, 1.0]


NUMBERS = {"1e3": 1000.0, "+Inf": math.inf, "-infinity": -math.inf, "0x1p4": 16.0, ".5": 0.5, "1.": 1.0}


@pytest.mark.parametrize(("text", "expected"), NUMBERS.items(), ids=NUMBERS)
def test_to_float(text, expected):
    """A text is a number where Go's ParseFloat takes it."""
    assert expected == to_float(text)


@pytest.mark.parametrize("text", ["", " 1", "1_000", "0x1", "+nan", "1e", "١"])
def test_to_float_refuses(text):
    """What ParseFloat does not take is no number."""
    with pytest.raises(Fault, match="invalid syntax"):
        to_float(text)


def test_to_float_of_others():
    """Only numbers and texts become floats."""
    for value, name in [(True, "bool"), (None, "<nil>"), ({}, "map[string]string")]:
        with pytest.raises(Fault, match=f"can't convert {name.replace('[', '.').replace(']', '.')} to float"):
            to_float(value)
