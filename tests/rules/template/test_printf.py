import math

import pytest

from otel_latency.rules.template.instants import Duration, Instant, Month
from otel_latency.rules.template.printf import default_text, sprint, sprintf, sprintln
from otel_latency.rules.template.values import Arguments, Byte, Fault, Html, Struct, Vector, sample

FORMATTED = [
    (("%5.1f|%-8.2f|%+.1e", 2.5, 2.5, 2.5), "  2.5|2.50    |+2.5e+00"),
    (("%08.2f|%+08.2f|% .1f", -2.5, 2.5, 2.5), "-0002.50|+0002.50| 2.5"),
    (("%8v|%08v|%-8v|%+v|% v", *[math.inf] * 5), "    +Inf|    +Inf|+Inf    |+Inf| Inf"),
    (("%f|%+f|% f|%5g", *[math.nan] * 4), "NaN|+NaN| NaN|  NaN"),
    (
        ("%d %05d %+d %x %#X %o %b %U %c %q", -7, -7, 7, 255, 255, 8, 5, 233, 233, 233),
        ("-7 -0007 +7 ff 0XFF 10 101 U+00E9 é 'é'"),
    ),
    (("%c %U", -1, -1), "\ufffd U+FFFFFFFFFFFFFFFF"),
    (("%s %q %.1s %x %X %5s|%-5s|", "é", "é\n", "éa", "hi", "hi", "é", "é"), 'é "é\\n" é 6869 6869     é|é    |'),
    (("%t %v %5t", True, False, True), "true false  true"),
    (("%d %s %t", 1.0, 1.5, "x"), "%!d(float64=1) %!s(float64=1.5) %!t(string=x)"),
    (("%s %v %d", None, None, None), "%!s(<nil>) <nil> %!d(<nil>)"),
    (("%d",), "%!d(MISSING)"),
    (("%d", 1, "x"), "1%!(EXTRA string=x)"),
    (("x", None), "x%!(EXTRA <nil>)"),
    (("100%", 1), "100%!(NOVERB)%!(EXTRA int=1)"),
    (("%[2]d %[1]d", 1, 2), "2 1"),
    (("%[9]d", 1), "%!d(BADINDEX)"),
    (("%*d|%.*f|%-*d|", 4, 1, 1, 2.55, 3, 7), "   1|2.5|7  |"),
    (("%*d %.*f", "x", 1, -1, 1.5), "%!(BADWIDTH)1 %!(BADPREC)1.500000"),
    (("%T %T %T %T", 1, Byte(1), Html("x"), None), "int uint8 template.HTML <nil>"),
    (("%v %+v %#v", {"b": "1", "a": "2"}, {}, {"a": "b"}), 'map[a:2 b:1] map[] map[string]string{"a":"b"}'),
    (("%q %d", {"a": "b"}, {"a": "b"}), 'map["a":"b"] map[%!d(string=a):%!d(string=b)]'),
    (("%v", Arguments(x=None)), "map[x:<nil>]"),
    (("%#v", Arguments(x=None)), 'map[string]interface {}{"x":interface {}(nil)}'),
    (("%v %+v", sample({"a": "b"}, 1.0), sample({"a": "b"}, 1.0)), "&{map[a:b] 1} &{Labels:map[a:b] Value:1}"),
    (("%v", Vector([sample({}, 1.0)])), "[&{map[] 1}]"),
    (
        ("%v %s %d %v", Instant(0), Duration(1), Instant(0), Month(2)),
        ("1970-01-01 00:00:00 +0000 UTC 1ns %!d(*time.Time=1970-01-01 00:00:00 +0000 UTC) February"),
    ),
    (("%#g %#.3f %#x", 1.0, 2.0, "hi"), "1.00000 2.000 0x6869"),
]


@pytest.mark.parametrize(("given", "expected"), FORMATTED, ids=[given[0] for given, _ in FORMATTED])
def test_sprintf(given, expected):
    """Verbs, flags and complaints are Go's."""
    assert expected == sprintf(given[0], given[1:])


def test_sprint():
    """Spaces stand between operands that are both no strings."""
    assert sprint(["a", 1, 2, "b", 3.0, True, None]) == "a1 2b3 true <nil>"


def test_sprintln():
    """Spaces stand between all operands, and a newline behind them."""
    assert [sprintln(["a", 1]), sprintln([])] == ["a 1\n", "\n"]


def test_default_text():
    """A struct prints its fields, a pointer to one with an ampersand."""
    shown = [default_text(Struct(name, {"A": 1.5, "B": "x"})) for name in ("struct {}", "*p")]
    assert shown == ["{1.5 x}", "&{1.5 x}"]


def test_bound():
    """A text that is too long is a fault, not memory."""
    with pytest.raises(Fault, match="65536"):
        sprintf("%70000d", [1])
