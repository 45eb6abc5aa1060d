"""Prometheus' durations, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_latency.errors import ExpressionError
from otel_latency.rules.promql.durations import format_duration, parse_duration

RIGHT = {
    "250ms": 250,
    "1s": 1000,
    "5m": 300_000,
    "1h30m": 5_400_000,
    "1d12h": 129_600_000,
    "1w": 604_800_000,
    "1y": 31_536_000_000,
    "1y2w3d4h5m6s7ms": 33_019_506_007,
    "0": 0,
    "0s": 0,
    "90m": 5_400_000,
}
WRONG = ["", "90", "1.5m", "-5m", "1m30", "5m1h", "5 m", "m", "1M", "5m5m", "\u0661s", "1s\n"]
SHOWN = {
    0: "0s",
    250: "250ms",
    1250: "1s250ms",
    5_400_000: "1h30m",
    7_776_000_000: "90d",
    604_800_000: "1w",
    -60_000: "-1m",
}


@pytest.mark.parametrize(("text", "milliseconds"), RIGHT.items())
def test_right(text, milliseconds):
    """Every unit counts, from large to small, down to the millisecond."""
    assert milliseconds == parse_duration(text)


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text):
    """What Prometheus refuses is refused, with a spelling that would be right."""
    with pytest.raises(ExpressionError, match="write 250ms, 30s, 5m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["293y", "9999999999999999999999999y"])
def test_out_of_range(text):
    """A duration beyond 64 bits of nanoseconds is refused as in Prometheus, however long its number is."""
    with pytest.raises(ExpressionError, match="duration out of range"):
        parse_duration(text)


@pytest.mark.parametrize(("milliseconds", "text"), SHOWN.items())
def test_shown(milliseconds, text):
    """A duration is written as Prometheus writes it: 90 days stay days."""
    assert text == format_duration(milliseconds)


@given(st.integers(0, 9_000_000_000_000))
def test_round_trip(milliseconds):
    """What is written reads back."""
    assert milliseconds == parse_duration(format_duration(milliseconds))
