import math

import pytest

from otel_latency.rules.template.numerals import (
    float_text,
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
    scientific,
    shortest,
)

SHORTEST = {
    0.0: "0",
    -1.0: "-1",
    100000.0: "100000",
    999999.5: "999999.5",
    1e6: "1e+06",
    123456789.0: "1.23456789e+08",
    90061.5: "90061.5",
    0.0001: "0.0001",
    0.00009: "9e-05",
    5e-324: "5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
    0.1 + 0.2: "0.30000000000000004",
    math.inf: "+Inf",
    -math.inf: "-Inf",
}


@pytest.mark.parametrize(("value", "expected"), SHORTEST.items(), ids=SHORTEST.values())
def test_shortest(value, expected):
    """The fewest digits that read back, with an exponent below 1e-4 and from 1e6 on."""
    assert expected == shortest(value)


def test_negative_zero_and_nan():
    """Go shows the sign of zero, and NaN has none."""
    assert [shortest(-0.0), shortest(math.nan), shortest(-math.nan)] == ["-0", "NaN", "NaN"]


def test_scientific():
    """The HTTP API's spelling always has an exponent of two digits or more."""
    assert [scientific(value) for value in (1.0, 1500.0, 0.0, 1e-300)] == ["1e+00", "1.5e+03", "0e+00", "1e-300"]


HEXADECIMAL = {
    (1.5, None): "0x1.8p+00",
    (0.0, None): "0x0p+00",
    (-0.1, None): "-0x1.999999999999ap-04",
    (0.1, 3): "0x1.99ap-04",
    (1.5, 0): "0x1p+01",
    (2.5, 0): "0x1p+01",
    (1.96875, 1): "0x1.0p+01",
    (1.0, 15): "0x1.000000000000000p+00",
    (1e300, 2): "0x1.7ep+996",
}


@pytest.mark.parametrize(("given", "expected"), HEXADECIMAL.items(), ids=HEXADECIMAL.values())
def test_hexadecimal(given, expected):
    """Bits are shown as they are, or rounded half to even at the digit asked for."""
    value, precision = given
    assert expected == float_text(value, "x", precision)


HUMANIZED = {
    humanize: {1234567.0: "1.235M", 0.12: "120m", 0.0: "0", 1e30: "1e+06Y", -1234.5: "-1.234k", math.nan: "NaN"},
    humanize1024: {1536.0: "1.5ki", 1.0: "1", 1048576.0: "1Mi", math.inf: "+Inf", -5000.0: "-4.883ki"},
    humanize_percentage: {1.0: "100%", 100.0: "1e+04%", 0.123456: "12.35%", math.inf: "+Inf%"},
    humanize_duration: {
        0.0: "0s",
        100.0: "1m 40s",
        90061.5: "1d 1h 1m 1s",
        12.345: "12.35s",
        0.1235: "123.5ms",
        0.0001: "100us",
        -3700.9: "-1h 1m 40s",
        -0.5: "-500ms",
        math.nan: "NaN",
        1e21: "-106751991167300d -15h -30m -8s",
    },
}
CASES = [(function, value, text) for function, cases in HUMANIZED.items() for value, text in cases.items()]


@pytest.mark.parametrize(("function", "value", "expected"), CASES)
def test_humanize(function, value, expected):
    """Four significant digits with the prefix or units of the function."""
    assert expected == function(value)
