import pytest

from otel_latency.cli.painting import BAR, bar, listed, percent, seconds, shown

BARS = {
    "all": (0, 10, 10, 0, BAR),
    "half": (5, 10, 10, BAR // 2, BAR // 2),
    "a moment in the midst": (5, 5, 10, BAR // 2, 1),
    "a moment at the end": (10, 10, 10, BAR - 1, 1),
    "before the start": (-3, 5, 10, 0, BAR // 2),
    "after the end": (12, 15, 10, BAR - 1, 1),
    "of nothing": (0, 0, 0, 0, 1),
}


@pytest.mark.parametrize(("start", "end", "whole", "empty", "full"), BARS.values(), ids=BARS)
def test_bar(start, end, whole, empty, full):
    """A bar has its width, lies where the interval does, and is never invisible."""
    assert "·" * empty + "█" * full + "·" * (BAR - empty - full) == bar(start, end, whole)


SECONDS = {None: "-", 0.0: "0 ms", 0.00123: "1.23 ms", 0.5: "500 ms", 0.9996: "1.00 s", 8.45: "8.45 s", 123.4: "123 s"}


@pytest.mark.parametrize(("value", "text"), SECONDS.items())
def test_seconds(value, text):
    """Durations in the unit that people say."""
    assert text == seconds(value)


PERCENT = {0.4: "+40 %", -0.25: "-25 %", -0.001: "+0 %", 0.0: "+0 %", 12.0: "+1200 %"}


@pytest.mark.parametrize(("ratio", "text"), PERCENT.items())
def test_percent(ratio, text):
    """A change has its sign, and nothing has none below it."""
    assert text == percent(ratio)


def test_listed():
    """Of many names the first are told, and how many there are besides."""
    names = dict.fromkeys(f"n{number}" for number in range(10))
    assert ("none", "a\ufffd, b", "n0, n1 and 8 more") == (listed([]), listed(["a\x1b", "b"]), listed(names, 2))


def test_shown():
    """Foreign text is cut and cannot move the cursor."""
    assert "abc" == shown("abcdef", 3)
    assert "\ufffd[1m x" == shown("\x1b[1m\nx")
