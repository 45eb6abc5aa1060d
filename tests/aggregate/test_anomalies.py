"""What is told of anomalies, how often, and how long the score remembers them."""

from __future__ import annotations

import logging

import pytest

from otel_latency.aggregate.anomalies import EXPIRE, HOLD, LINES, MAX_SHIFTS, MAX_SLOW, SURE, Anomalies, Source
from otel_latency.predict import AnomalyScore, Shift, SlowCall

NOW = 1_700_000_000.0
IDS = "0a" * 16, "0b" * 8
CALL = Source("bot", "llm", "openai", "gpt-4o", "draft")
OTHERS = Source("shop", "answer", "openai", "gpt-4o", "describe")
STAGE = Source("bot", "retrieval")
NORMAL = AnomalyScore(0.0, "level")


def slow(seconds=9.0, probability=1e-3, expected=2.0):
    return SlowCall(seconds, expected, probability, "")


def shift(kind="level", ratio=1.6, p50=(1.2, 1.9), p99=(4.0, 6.0), **rest):
    given = {"since": NOW - 60, "reason": "slower", "provider": "openai", "model": "gpt-4o"} | rest
    return Shift(kind=kind, calls=20, ratio=ratio, p50=p50, p99=p99, **given)


class Told:
    """Anomalies, with ticks."""

    def __init__(self, **bounds):
        self.anomalies = Anomalies(**{"max_series": 100} | bounds)
        self.now = NOW
        self.anomalies.tick(NOW)

    def wait(self, seconds, *heard):
        for _ in range(int(seconds)):
            self.now += 1.0
            self.anomalies.tick(self.now)
            for source in heard:
                self.anomalies.heard(source, NORMAL)
        return self

    def score(self, service="bot", stage="llm"):
        labels = (("service", service), ("stage", stage))
        return {one.labels: one.value for family in self.anomalies.families() for one in family.series}.get(labels)

    def texts(self):
        return [one.text for one in self.anomalies.latest()]


TEXTS = {
    "level": (shift(), "openai gpt-4o is slower since 22:12 UTC: 1.9 s instead of 1.2 s (x1.6)"),
    "per token": (
        shift("speed", reason="slower per token"),
        "openai gpt-4o is slower since 22:12 UTC: 1.9 s instead of 1.2 s (x1.6), slower per token",
    ),
    "other operations than before": (
        shift(p50=(3.0, 1.0), reason="longer answers"),
        "openai gpt-4o is slower since 22:12 UTC (x1.6), longer answers",
    ),
    "the tail": (
        shift("tail", ratio=1.02),
        "openai gpt-4o has more far slower calls than usual since 22:12 UTC: p99 6 s instead of 4 s",
    ),
    "a level that its tail showed first": (
        shift("tail", reason="the slowest calls became slower"),
        "openai gpt-4o is slower since 22:12 UTC: 1.9 s instead of 1.2 s (x1.6)",
    ),
    "a day ago": (
        shift(since=NOW - 90_000),
        "openai gpt-4o is slower since 2023-11-13 21:13 UTC: 1.9 s instead of 1.2 s (x1.6)",
    ),
    "nobody knows when": (
        shift(since=None),
        "openai gpt-4o is slower since 22:13 UTC: 1.9 s instead of 1.2 s (x1.6)",
    ),
}


@pytest.mark.parametrize(("change", "text"), TEXTS.values(), ids=TEXTS)
def test_shift_in_words(change, text):
    """What became slower, since when, from what to what, and why."""
    told = Told()
    told.anomalies.shifted(CALL, change, IDS)
    assert [text] == told.texts()


def test_shift_of_a_stage_in_words():
    """A stage is named with its service."""
    told = Told()
    told.anomalies.shifted(STAGE, shift(), IDS)
    assert ["retrieval of bot is slower since 22:12 UTC: 1.9 s instead of 1.2 s (x1.6)"] == told.texts()


def test_newest_first():
    """Slow calls and shifts are one list, by when they were noticed."""
    told = Told()
    told.anomalies.slow(CALL, slow(), NOW - 9, IDS)
    told.wait(1).anomalies.shifted(CALL, shift(), IDS)
    told.wait(1).anomalies.slow(STAGE, slow(), NOW - 9, IDS)
    assert ["slow_call", "level_shift", "slow_call"] == [one.kind for one in told.anomalies.latest()]
    assert [NOW + 2, NOW + 1, NOW] == [one.time for one in told.anomalies.latest()]


def test_bounded():
    """A flood of slow calls does not push out the shifts."""
    told = Told()
    told.anomalies.shifted(CALL, shift(), IDS)
    for _ in range(3 * MAX_SLOW):
        told.anomalies.slow(CALL, slow(), NOW, IDS)
    assert (MAX_SLOW + 1, 1) == (len(told.texts()), sum(one.kind == "level_shift" for one in told.anomalies.latest()))
    for _ in range(3 * MAX_SHIFTS):
        told.anomalies.shifted(CALL, shift(), IDS)
    assert MAX_SLOW + MAX_SHIFTS == len(told.texts())


UNFELT = {
    "a call": lambda told: told.anomalies.slow(CALL, slow(0.02, expected=0.005), NOW, IDS),
    "all calls": lambda told: told.anomalies.shifted(CALL, shift(p50=(0.005, 0.008)), IDS),
    "the tail": lambda told: told.anomalies.shifted(CALL, shift("tail", 1.0, p99=(0.001, 0.004)), IDS),
}


@pytest.mark.parametrize("tell", UNFELT.values(), ids=UNFELT)
def test_too_little_to_feel(tell):
    """Milliseconds are no anomalies."""
    told = Told()
    tell(told)
    assert ([], None) == (told.texts(), told.score())


# --- the score ----------------------------------------------------------------------------------------------------


def test_normal():
    """What was heard of, and is as ever, has a score of zero; what was not has none."""
    told = Told()
    told.anomalies.heard(CALL, NORMAL)
    assert (0.0, None) == (told.score(), told.score("bot", "retrieval"))


@pytest.mark.parametrize(("probability", "score"), [(1e-2, 1 / 3), (1e-3, 0.5), (1e-6, 1.0), (0.0, 1.0)])
def test_score_of_a_slow_call(probability, score):
    """The less likely, the higher; it halves twice a minute."""
    told = Told()
    told.anomalies.slow(CALL, slow(probability=probability), NOW, IDS)
    assert pytest.approx(score) == told.score()
    assert pytest.approx(score / 4) == told.wait(60, CALL).score()


def test_score_of_evidence():
    """Evidence for a shift counts nine tenths, and halves with each minute of silence."""
    told = Told()
    told.anomalies.heard(CALL, AnomalyScore(0.5, "level"))
    assert pytest.approx(SURE / 2) == told.score()
    assert pytest.approx(SURE / 4) == told.wait(60).score()
    told.anomalies.heard(CALL, NORMAL)
    assert told.score() == 0.0


def test_score_of_a_shift():
    """It is 1 for five minutes, long enough for an alert, and then falls while the new level becomes the usual one."""
    told = Told()
    for source in (CALL, OTHERS, STAGE):
        told.anomalies.heard(source, NORMAL)
    told.anomalies.shifted(CALL, shift(), IDS)
    told.anomalies.heard(CALL, AnomalyScore(1.0, "level"))
    assert (1.0, 1.0, 0.0) == (told.score(), told.score("shop", "answer"), told.score("bot", "retrieval"))
    assert told.wait(HOLD, CALL).score() == 1.0
    assert pytest.approx(0.5) == told.wait(60, CALL).score()
    assert told.wait(EXPIRE, CALL).score() == 0.0


def test_silence():
    """A stage that is not heard of for a quarter of an hour has no score any more."""
    told = Told()
    told.anomalies.heard(CALL, NORMAL)
    assert told.wait(EXPIRE).score() == 0.0
    assert told.wait(1).score() is None


def test_the_worst_counts():
    """A stage that calls several models has the score of the worst of them."""
    told = Told()
    told.anomalies.heard(CALL, AnomalyScore(0.5, "level"))
    told.anomalies.heard(Source("bot", "llm", "openai", "mini", "draft"), NORMAL)
    assert pytest.approx(SURE / 2) == told.score()


def test_a_clock_that_is_set():
    """When the clock jumps, scores fade by a minute at most, and go on fading when it was set back."""
    told = Told()
    told.anomalies.slow(CALL, slow(probability=1e-6), NOW, IDS)
    told.now += 86_400
    told.anomalies.tick(told.now)
    assert pytest.approx(0.25) == told.score()
    told.now -= 2 * 86_400
    assert pytest.approx(0.125, rel=0.05) == told.wait(31).score()


def test_bounded_scores():
    """Of too many sources those unheard for longest are forgotten."""
    told = Told(max_series=10)
    for number in range(20):
        told.anomalies.heard(Source("bot", f"stage-{number}"), NORMAL)
    assert [None] * 10 + [0.0] * 10 == [told.score("bot", f"stage-{number}") for number in range(20)]


# --- the log ------------------------------------------------------------------------------------------------------


def test_log(caplog):
    """A few lines a minute, then how many more there were; slow calls do not keep a shift from being told."""
    told = Told()
    with caplog.at_level(logging.WARNING):
        for _ in range(LINES + 3):
            told.anomalies.slow(CALL, slow(), NOW, IDS)
        told.anomalies.shifted(CALL, shift(), IDS)
        lines = [record.getMessage() for record in caplog.records]
        assert (LINES + 1, 1) == (len(lines), sum("is slower since" in line for line in lines))
        told.wait(59)
        assert LINES + 1 == len(caplog.records)
        told.wait(1)
        assert "and 3 more slow calls within that minute" == caplog.records[-1].getMessage()
        told.wait(120).anomalies.slow(CALL, slow(), NOW, IDS)
    assert (LINES + 3, {"WARNING"}) == (len(caplog.records), {record.levelname for record in caplog.records})


# --- over a restart -----------------------------------------------------------------------------------------------


def test_kept():
    """The list survives; its order too."""
    told, again = Told(), Told()
    told.anomalies.slow(CALL, slow(), NOW, IDS)
    told.wait(1).anomalies.shifted(CALL, shift(), IDS)
    again.anomalies.restore(told.anomalies.state())
    assert told.anomalies.latest() == again.anomalies.latest() != []


def test_kept_of_another_shape():
    """What another version kept is refused as a whole."""
    told = Told()
    told.anomalies.slow(CALL, slow(), NOW, IDS)
    (state,) = told.anomalies.state()
    again = Told()
    with pytest.raises(TypeError):
        again.anomalies.restore([state, state | {"new": 1}])
    assert [] == again.anomalies.latest()
