import pytest

from otel_latency.errors import ExpressionError
from otel_latency.rules.template.quoting import escape_html, escape_javascript, from_bytes, quote, to_bytes, unquote

LITERALS = {
    r'"a\n\t\"\\"': 'a\n\t"\\',
    r'"\x41\101\u00e9\U0001F600"': "AAé😀",
    r'"\xc3\xa9"': "é",
    r"'\''": "'",
    "`a\\n\r`": "a\\n",
    '""': "",
}


@pytest.mark.parametrize(("literal", "expected"), LITERALS.items(), ids=LITERALS)
def test_unquote(literal, expected):
    """A literal stands for the string that Go reads."""
    assert expected == unquote(literal)


@pytest.mark.parametrize("literal", [r'"\q"', r'"\'"', r'"\400"', r'"\ud800"', r'"\U00110000"', r'"\x4"'])
def test_unquote_refuses(literal):
    """An escape that Go does not know is a fault."""
    with pytest.raises(ExpressionError, match="invalid syntax"):
        unquote(literal)


QUOTED = {
    "plain": '"plain"',
    'a"b\\': r'"a\"b\\"',
    "é\n\x01\x7f": r'"é\n\x01\x7f"',
    "\u2028\U000e0001": r'"\u2028\U000e0001"',
    from_bytes(b"\xff"): r'"\xff"',
}


@pytest.mark.parametrize(("text", "expected"), QUOTED.items(), ids=QUOTED.values())
def test_quote(text, expected):
    """What is printable stays, the rest is escaped as Go does it."""
    assert expected == quote(text)


def test_quote_ascii():
    """With a plus nothing but ASCII is left."""
    assert quote("é😀", ascii_only=True) == r'"\u00e9\U0001f600"'


def test_bytes_survive():
    """Bytes that are no UTF-8 come back as they were."""
    assert to_bytes(from_bytes(b"a\xff\xc3")) == b"a\xff\xc3"


def test_escape_html():
    """Quotes, ampersands, angle brackets and NUL are escaped."""
    assert escape_html("""<a b='1'>&"\0""") == "&lt;a b=&#39;1&#39;&gt;&amp;&#34;\ufffd"


def test_escape_javascript():
    """What could end a string or a script is escaped."""
    assert escape_javascript("a='\"\\<>&\n\u2028é") == r"a\u003D\'\"\\\u003C\u003E\u0026\u000A\u2028é"
