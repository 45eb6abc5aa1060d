"""Go's string literals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.strings import quote, unquote

RIGHT = {
    '"a"': "a",
    "'it is \"so\"'": 'it is "so"',
    "'it\\'s'": "it's",
    r'"\a\b\f\n\r\t\v\\\""': '\a\b\f\n\r\t\v\\"',
    r'"\x41\101\u00e9\U0001F600"': "AA\u00e9\U0001f600",
    r'"\xc3\xa9"': "\u00e9",
    r'"\xff"': "\udcff",
    r"`\d+`": "\\d+",
    "`two\nlines`": "two\nlines",
}
WRONG = {
    r'"\d"': (1, "unknown escape sequence U+0064 'd': write a backslash twice"),
    r'"ok\q"': (3, "unknown escape sequence U+0071 'q'"),
    '"\\\'"': (1, "unknown escape sequence U+0027"),
    r'"\xg1"': (1, "illegal character in escape sequence"),
    r'"\12"': (1, "illegal character in escape sequence"),
    r'"\400"': (1, "invalid Unicode code point"),
    r'"\ud800"': (1, "invalid Unicode code point"),
    r'"\U00110000"': (1, "invalid Unicode code point"),
}


@pytest.mark.parametrize(("literal", "value"), RIGHT.items())
def test_right(literal, value):
    """A literal has the value that Go gives it; bytes that form no UTF-8 become lone surrogates."""
    assert value == unquote(literal)


@pytest.mark.parametrize(("literal", "fault"), WRONG.items())
def test_wrong(literal, fault):
    """A wrong escape is told with its own place."""
    offset, fact = fault
    with pytest.raises(ExpressionError) as caught:
        unquote(literal, 10)
    assert 10 + offset == caught.value.at
    assert fact in caught.value.fact


@given(st.text())
def test_round_trip(value):
    """What is quoted has the same value again."""
    assert value == unquote(quote(value))


def test_quote_shows_controls():
    """A quoted value stands on one line and hides nothing."""
    assert r'"a\n\x07\u200b\"\\\xff"'.replace(r"\x07", r"\a") == quote('a\n\a\u200b"\\\udcff')
