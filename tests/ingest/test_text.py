"""Text that came through the door can be stored, shown and compared without care."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.ingest.text import clean

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates included

CASES = {
    "plain ASCII stays": ("chat gpt-4o", "chat gpt-4o"),
    "other scripts and emoji stay": ("précis 要約 👩‍🚀", "précis 要約 👩‍🚀"),
    "a lone surrogate is replaced": ("a\ud800b", "a\ufffdb"),
    "NUL and escapes are replaced": ("a\0b\x1b[2J", "a\ufffdb\ufffd[2J"),
    "line breaks and tabs become spaces": ("a\nb\r\tc\u2028d\x85e", "a b  c d e"),
    "marks that reorder text are replaced": ("user\u202etxt.exe\u2066", "user\ufffdtxt.exe\ufffd"),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_clean(text, expected):
    """Only what would break a store, a line or a display is changed."""
    assert expected == clean(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("abcdef", "abcd"), ("日本語です", "日本語で"), ("👩👩👩👩👩", "👩👩👩👩")]
)
def test_limit(text, expected):
    """Long text is cut between characters."""
    assert expected == clean(text, limit=4)


def test_clean_text_is_not_copied():
    """Printable ASCII comes back as the same object."""
    name = "chat gpt-4o"
    assert clean(name) is name


@given(ANY_TEXT)
def test_result_is_fit(text):
    """Whatever came in, the result encodes as UTF-8, is one line and is already clean."""
    result = clean(text, limit=50)
    assert len(result) <= 50
    assert result.encode().decode() == result
    assert len(result.splitlines()) <= 1
    assert result == clean(result, limit=50)
