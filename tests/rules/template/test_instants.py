import pytest

from otel_latency.rules.template.instants import DURATION_METHODS, INSTANT_METHODS, Duration, Instant

NEW_YEAR = Instant.at(1767225600.0)

LAYOUTS = {
    "2006-01-02T15:04:05Z07:00": "2026-03-07T14:05:09Z",
    "Monday, January _2 2006 at 3:04pm": "Saturday, March  7 2026 at 2:05pm",
    "Mon Jan 2 03:04:05.000 PM MST -0700 06": "Sat Mar 7 02:05:09.120 PM UTC +0000 26",
    "05.999 05,00 .9999 002 1/2 5 4": "09.12 09,12 .12 066 3/7 9 5",
}


@pytest.mark.parametrize(("layout", "expected"), LAYOUTS.items(), ids=LAYOUTS)
def test_format(layout, expected):
    """The reference time in a layout becomes the instant."""
    assert expected == Instant(1772892309120).format(layout)


def test_instant_text():
    """Milliseconds are kept, towards zero, and shown when there are any."""
    shown = [str(Instant.at(seconds)) for seconds in (0, 1.5, -1.5, 0.0019)]
    assert shown == [
        "1970-01-01 00:00:00 +0000 UTC",
        "1970-01-01 00:00:01.5 +0000 UTC",
        "1969-12-31 23:59:58.5 +0000 UTC",
        "1970-01-01 00:00:00.001 +0000 UTC",
    ]


def test_instant_overflow():
    """Nanoseconds beyond int64 are refused; the edge of it wraps, as Go's conversion does."""
    with pytest.raises(OverflowError):
        Instant.at(1e10)
    assert Instant.at((1 << 63) / 1e9).milliseconds < 0


def test_instant_methods():
    """Calendar fields are methods under Go's names; month and weekday print as words."""
    names = ("Year", "Month", "Day", "Weekday", "YearDay", "Hour", "Unix", "UnixMilli", "UnixNano")
    answers = [str(INSTANT_METHODS[name][1](NEW_YEAR)) for name in names]
    seconds = "1767225600"
    assert answers == ["2026", "January", "1", "Thursday", "1", "0", seconds, f"{seconds}000", f"{seconds}000000000"]


DURATIONS = {
    0.0: "0s",
    1e-9: "1ns",
    1.5e-6: "1.5µs",
    0.25: "250ms",
    1.5: "1.5s",
    60.0: "1m0s",
    -90061.5: "-25h1m1.5s",
    1e300: "-2562047h47m16.854775808s",
}


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS.items(), ids=DURATIONS.values())
def test_duration_text(seconds, expected):
    """A duration prints as Go's time.Duration; what overflows is the smallest."""
    assert expected == str(Duration.of(seconds))


def test_duration_methods():
    """Units are methods; whole ones are cut towards zero."""
    duration = Duration.of(-5400.0015)
    names = ("Hours", "Minutes", "Seconds", "Milliseconds", "Microseconds", "Nanoseconds")
    answers = [DURATION_METHODS[name][1](duration) for name in names]
    assert answers == [
        pytest.approx(-1.5, abs=1e-5),
        pytest.approx(-90, abs=1e-4),
        -5400.0015,
        -5400001,
        -5400001500,
        -5400001500000,
    ]
