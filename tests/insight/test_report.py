import pytest

from otel_latency.errors import ConfigError
from otel_latency.insight.report import Change, Figure, Report, changes, dump, has_regressed, load


def report(*figures):
    return Report(1.0, "0.1.0", "Linux, 2 cores", figures)


def test_saved():
    """A report comes back as it was written."""
    saved = report(Figure("start-up", "s", (1.0, 2.0)), Figure("throughput", "spans/s", (9.5,), "higher"))
    assert saved == load("r.json", dump(saved))


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b'{"figures": []}', dump(report(Figure("x", "s", ())))])
def test_no_report(data):
    """What is no report is said to be none, with its name and the cure."""
    with pytest.raises(ConfigError, match=r"^r\.json: .* with --save$"):
        load("r.json", data)


CASES = {
    "slower": ("lower", (1.0, 1.1, 1.2), (1.5, 1.6, 1.7), "worse"),
    "faster": ("lower", (1.5, 1.6, 1.7), (1.0, 1.1, 1.2), "better"),
    "less done": ("higher", (100.0, 110.0), (70.0, 75.0), "worse"),
    "more done": ("higher", (70.0, 75.0), (100.0, 110.0), "better"),
    "within the tolerance": ("lower", (1.0, 1.01), (1.2, 1.21), "same"),
    "a busy moment": ("lower", (1.0, 1.0, 1.6), (1.5, 1.6, 1.7), "same"),
    "neither way is better": ("", (1.0,), (9.0,), "same"),
    "from nothing": ("lower", (0.0,), (1.0,), "worse"),
}


@pytest.mark.parametrize(("better", "before", "now", "verdict"), CASES.values(), ids=CASES)
def test_verdicts(better, before, now, verdict):
    """Worse is what is beyond the tolerance and beyond what the figure varies by itself."""
    [found] = changes(report(Figure("x", "s", before, better)), report(Figure("x", "s", now, better)))
    assert (verdict, verdict == "worse") == (found.verdict, has_regressed([found]))


def test_new_and_gone():
    """Figures of one report only are shown, and are no regression."""
    found = changes(report(Figure("a", "s", (1.0,))), report(Figure("b", "s", (2.0, 4.0))))
    assert [Change("b", None, 3.0, None, "new"), Change("a", 1.0, None, None, "gone")] == found
    assert not has_regressed(found)
