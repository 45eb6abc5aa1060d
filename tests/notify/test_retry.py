import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.notify.retry import MAX_DELAY, delay, retry_after
from otel_latency.outbound import MAX_RETRY_AFTER

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_delay():
    """Delays begin at half a second, grow by half, and end at a minute; chance moves them by half."""
    assert [0.5, 0.75, 1.125] == [delay(attempt, lambda _low, _high: 1.0) for attempt in (1, 2, 3)]
    assert (0.25, 0.75) == (delay(1, min), delay(1, max))
    assert (MAX_DELAY, MAX_DELAY) == (delay(13, max), delay(10_000, max))


@given(st.integers(1, 10**9))
def test_delay_is_bounded(attempt):
    """However often it failed, the next attempt is less than a minute away."""
    assert 0.25 <= delay(attempt) <= MAX_DELAY


ASKED = {
    "seconds": ({"Retry-After": "7"}, b"", 7.0),
    "fraction": ({"Retry-After": "0.5"}, b"", 0.5),
    "date": ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, b"", 30.0),
    "date that has passed": ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, b"", 0.0),
    "far too long": ({"Retry-After": "1e9"}, b"", MAX_RETRY_AFTER),
    "negative": ({"Retry-After": "-3"}, b"", 0.0),
    "not a number": ({"Retry-After": "nan"}, b"", None),
    "infinite": ({"Retry-After": "inf"}, b"", None),
    "nonsense": ({"Retry-After": "soon"}, b"", None),
    "in the body": ({}, b'{"ok": false, "retry_after": 12}', 12.0),
    "header first": ({"Retry-After": "3"}, b'{"retry_after": 12}', 3.0),
    "a body that is no object": ({}, b"[1]", None),
    "a body that is no JSON": ({}, b"\xff", None),
    "a deep body": ({}, b"[" * 100_000, None),
    "words in the body": ({}, b'{"retry_after": "soon"}', None),
    "a huge number in the body": ({}, b'{"retry_after": 1e999}', None),
    "nothing": ({}, b"", None),
}


@pytest.mark.parametrize(("headers", "body", "expected"), ASKED.values(), ids=ASKED)
def test_retry_after(headers, body, expected):
    """What the far side asks for is understood in each of its forms, and bounded."""
    assert expected == retry_after(headers, body, NOW)
