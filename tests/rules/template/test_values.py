import pytest

from otel_latency.rules.template.instants import Duration, Instant, Month
from otel_latency.rules.template.values import Arguments, Byte, Html, Struct, Vector, is_true, sample, type_name

TYPES = {
    "string": "",
    "bool": True,
    "int": 1,
    "uint8": Byte(1),
    "float64": 1.0,
    "map[string]string": {},
    "map[string]interface {}": Arguments(),
    "*template.sample": sample({}, 1.0),
    "template.queryResult": Vector(),
    "template.HTML": Html(""),
    "*time.Time": Instant(0),
    "*time.Duration": Duration(0),
    "time.Month": Month(1),
}


@pytest.mark.parametrize(("expected", "value"), TYPES.items(), ids=TYPES)
def test_type_name(expected, value):
    """Every value has Go's name for its type."""
    assert expected == type_name(value)


def test_truth():
    """Zero and empty are false; structs and pointers are true whatever they hold."""
    false = [None, "", 0, 0.0, -0.0, False, {}, Arguments(), Vector(), Html(""), Byte(0)]
    true = ["0", 1, float("nan"), True, {"a": ""}, Struct("x", {}), Instant(0), Duration(0)]
    assert ([is_true(value) for value in false], [is_true(value) for value in true]) == ([False] * 11, [True] * 8)
