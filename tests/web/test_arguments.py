import pytest

from otel_latency.web.arguments import LATEST, Arguments

NOW = 1_700_000_000.0
KNOWN = ("from", "to", "step", "limit", "n")


def arguments(**given):
    return Arguments({name.rstrip("_"): text for name, text in given.items()}, KNOWN, NOW)


TIMES = {
    "1700000000.25": NOW + 0.25,
    "17e8": NOW,
    "now": NOW,
    "-1h30m": NOW - 5400,
    "-100000d": 0.0,
    "2023-11-14T22:13:20Z": NOW,
    "2023-11-14T23:13:20.5+01:00": NOW + 0.5,
    "2023-11-14T23:13:20.5 01:00": NOW + 0.5,
    "2023-11-14 22:13:20Z": NOW,
}


@pytest.mark.parametrize(("text", "expected"), TIMES.items(), ids=TIMES)
def test_times(text, expected):
    """A time is written as a number, a date with its zone, or an age; the `+` of a zone may have become a space."""
    assert (expected, LATEST) == arguments(from_=text).period(None)


NO_TIMES = ["yesterday", "2023-11-14T22:13:20", "-1", "--1h", "1h", "1e12", "nan", "inf", "1700000000000", "9" * 5000]


@pytest.mark.parametrize("text", NO_TIMES)
def test_no_times(text):
    """What is no time, or milliseconds, is told with what to write; of a long text only the beginning."""
    with pytest.raises(ValueError, match=r"^to: '.{1,63}' is not a time: write Unix seconds, RFC 3339 or -1h$"):
        arguments(to=text).period(60.0)


PERIODS = {
    "all there is": ({}, None, (0.0, LATEST)),
    "the last hour": ({}, 3600.0, (NOW - 3600, NOW)),
    "the hour until then": ({"to": "-1h"}, 3600.0, (NOW - 7200, NOW - 3600)),
    "since then": ({"from_": "-2h"}, 3600.0, (NOW - 7200, NOW)),
    "the first hour": ({"to": "60"}, 3600.0, (0.0, 60.0)),
    "a future": ({"to": "1700000060"}, 3600.0, (NOW - 3600, NOW + 60)),
}


@pytest.mark.parametrize(("given", "default", "expected"), PERIODS.values(), ids=PERIODS)
def test_periods(given, default, expected):
    """What is not given is the last while, or all there is."""
    assert expected == arguments(**given).period(default)


DURATIONS = {"10s": 10.0, "1h30m": 5400.0, "0.5": 0.5, "60": 60.0, "": None}


@pytest.mark.parametrize(("text", "expected"), DURATIONS.items(), ids=DURATIONS)
def test_durations(text, expected):
    """A step is written as in the configuration, or as a number of seconds."""
    assert expected == arguments(step=text).duration("step")


@pytest.mark.parametrize("text", ["0", "-5", "0s", "soon", "5 m", "nan"])
def test_no_durations(text):
    """A step of nothing is none."""
    with pytest.raises(ValueError, match="is not a duration: write 10s, 5m, 1h or a number of seconds"):
        arguments(step=text).duration("step")


LIMITS = {"": 100, "1": 1, "+20": 20, "99999": 1000}


@pytest.mark.parametrize(("text", "expected"), LIMITS.items(), ids=LIMITS)
def test_limit(text, expected):
    """More than there may be is taken for the most."""
    assert expected == arguments(limit=text).limit(100, 1000)


@pytest.mark.parametrize("text", ["1.5", "ten", "1_000", "٣"])
def test_no_limit(text):
    """A limit is a whole number in plain digits."""
    with pytest.raises(ValueError, match="is not a whole number: write 1 to 1000"):
        arguments(limit=text).limit(100, 1000)


@pytest.mark.parametrize("text", ["0", "-0", "-5"])
def test_limit_of_nothing(text):
    """Who asks for no rows has made a mistake."""
    with pytest.raises(ValueError, match=f"^limit: '{text}' is less than 1: write 1 to 1000$"):
        arguments(limit=text).limit(100, 1000)


def test_twice():
    """An argument that is given twice is a mistake in one of its places."""
    from multidict import MultiDict

    with pytest.raises(ValueError, match=r"^n: it is given twice: keep one$"):
        Arguments(MultiDict([("n", "1"), ("n", "2")]), KNOWN, NOW)
