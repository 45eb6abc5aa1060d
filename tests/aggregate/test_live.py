"""Lines and heatmap columns: which series, what they tell, and when a column is told again."""

import pytest

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.live import HIGHEST, LOWEST, Live
from otel_latency.records import Profile
from otel_latency.sketch import Sketch

NOW = 1_700_000_000.0
QUANTUM = int(NOW * 4)
STAGE = Profile("bot", stage="llm")
TURN = Profile("bot", turn="answer")


class Watched:
    """An aggregator with spans that end when a test says so."""

    def __init__(self, **options):
        self.aggregator = Aggregator()
        self.live = Live(self.aggregator, **options)
        self.spans = 0

    def end(self, profile, at, *lengths, now=NOW, **measures):
        rows = []
        for length in lengths:
            self.spans += 1
            ids = self.spans.to_bytes(16, "big"), self.spans.to_bytes(8, "big"), b""
            end_ns = round(at * 1e9)
            rows.append((profile, *ids, end_ns - round(length * 1e9), end_ns, measures or None))
        self.aggregator.add(rows, now)
        self.aggregator.fold(now)
        self.live.choose(now)


def test_a_line_slides_over_ten_seconds():
    """p50, p90 and p99 of what ended in the last 10 s, and nothing once there is nothing."""
    watched = Watched()
    watched.end(STAGE, NOW - 11, 100.0)
    watched.end(STAGE, NOW - 1, *(n / 10 for n in range(1, 11)))
    assert [{"kind": "stage", "service": "bot", "name": "llm"}] == watched.live.series()
    assert [pytest.approx([0.5, 0.9, 1.0])] == watched.live.lines(NOW)
    assert [[None, None, None]] == watched.live.lines(NOW + 20)


def test_series_in_their_order():
    """Kinds of turns come first, then their first audio, then stages, the busiest of each first; a few are left out."""
    watched = Watched(max_series=4)
    watched.end(Profile("bot", stage="stt"), NOW, 0.1)
    watched.end(Profile("bot", stage="llm"), NOW, 0.1, 0.2)
    watched.end(Profile("bot", turn="rare"), NOW, 0.1)
    watched.end(TURN, NOW, 0.1, 0.2, ttfa=0.05)
    assert [("turn", "answer"), ("turn", "rare"), ("first_audio", "answer"), ("stage", "llm")] == [
        (one["kind"], one["name"]) for one in watched.live.series()
    ]


def test_series_without_news_go():
    """What has not ended in the last two minutes has no line."""
    watched = Watched()
    watched.end(STAGE, NOW, 0.1)
    watched.live.choose(NOW + 180)
    assert [] == watched.live.series()


def test_columns_are_told_when_they_change():
    """A column comes once, and again with its whole count when a late span falls into it; one too old is left alone."""
    watched = Watched()
    watched.end(STAGE, NOW, 1.0, 0.99, 0.5)
    assert [[0, QUANTUM, 0, 2, -4, 1]] == [column_sorted(one) for one in watched.live.heat(NOW)]
    assert [] == watched.live.heat(NOW)
    watched.end(STAGE, NOW, 1.0, now=NOW + 5)
    assert [[0, QUANTUM, 0, 3, -4, 1]] == [column_sorted(one) for one in watched.live.heat(NOW + 5)]
    watched.end(STAGE, NOW, 1.0, now=NOW + 11)
    assert [] == watched.live.heat(NOW + 11)


def column_sorted(column):
    """Index, quantum, and the rows from the slowest on."""
    pairs = sorted(zip(column[2::2], column[3::2], strict=True), reverse=True)
    return [*column[:2], *(number for pair in pairs for number in pair)]


ROWS = {
    "one second is the upper end of row 0": (1.0, 0),
    "a little more is in the next": (1.001, 1),
    "half of it is four rows down": (0.5, -4),
    "nothing at all": (0.0, LOWEST),
    "a microsecond": (1e-6, LOWEST),
    "an hour": (3600.0, HIGHEST),
}


@pytest.mark.parametrize(("seconds", "row"), ROWS.values(), ids=ROWS)
def test_rows(seconds, row):
    """Four rows make a factor of two; the ends take what is beyond them."""
    watched = Watched()
    watched.end(STAGE, NOW, seconds)
    assert [[0, QUANTUM, row, 1]] == watched.live.heat(NOW)


def test_the_past_is_what_a_viewer_would_have_seen():
    """For each of the last 60 seconds the quantiles of the ten seconds up to it, and every column."""
    watched = Watched()
    values = [0.1 + n / 100 for n in range(60)]
    for second, value in enumerate(values):
        watched.end(STAGE, NOW - 60 + second, value, now=NOW)
    ((lines, columns),) = watched.live.past(NOW)
    expected = [Sketch(values[max(last - 9, 0) : last + 1]).quantiles((0.5, 0.9, 0.99)) for last in range(60)]
    assert [pytest.approx(one) for one in expected] == lines
    assert [(0, QUANTUM - 4 * past) for past in range(59, 0, -1)] == sorted((one[0], one[1]) for one in columns)


SINCE = {
    "never": ("-----", None),
    "all along": ("xxxxx", 4),
    "the last two minutes": ("---xx", 1),
    "the running minute does not end it": ("xxxx-", 4),
    "a good minute ends it": ("xx-xx", 1),
    "the minute has only begun": ("--xx ", 2),
}


@pytest.mark.parametrize(("minutes", "ago"), SINCE.values(), ids=SINCE)
def test_slow_since(minutes, ago):
    """Since the oldest of the minutes in a row whose p95 is over the limit (x); a blank one had no spans."""
    watched = Watched()
    start = NOW // 60 * 60
    for past, mark in zip(range(len(minutes) - 1, -1, -1), minutes, strict=True):
        if mark != " ":
            watched.end(STAGE, start - 60 * past + 1, 2.0 if mark == "x" else 0.5, now=start + 2)
    found = watched.live.slow_since("stage", "bot", "llm", 1.0, start + 2)
    assert (None if ago is None else start - 60 * ago) == found


def test_slow_since_of_what_has_no_line():
    """Nothing is known of it."""
    assert Watched().live.slow_since("stage", "bot", "llm", 1.0, NOW) is None
