"""Under load whole traces are left out: the same ones everywhere, as many as needed, and no turn is torn by it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from traces import row

from otel_latency.aggregate.turn import NO_ROOT
from otel_latency.aggregate.turn_sampling import ARRIVAL, CALM, TraceSampling
from otel_latency.aggregate.turns import TurnAssembler

TICK = 0.25
MAX_RATE = 1_000.0
ROW = row("x", 0, 1, span=2)


class Load:
    """Spans, as many a second as told, given to a sampling with its ticks."""

    def __init__(self, sampling: TraceSampling, seed: int = 1) -> None:
        self.sampling = sampling
        self.rng = random.Random(seed)
        self.now = 0.0

    def run(self, seconds, rate, spread=0.0):
        """The share after each tick."""
        shares = []
        for _ in range(round(seconds / TICK)):
            count = round(rate * TICK * self.rng.uniform(1 - spread, 1 + spread))
            self.sampling.kept([ROW] * count)
            self.now += TICK
            self.sampling.tick(self.now)
            shares.append(self.sampling.share)
        return shares

    def rows(self, count):
        return [row("x", 0, 1, span=2, trace=self.rng.randbytes(16)) for _ in range(count)]


@pytest.fixture
def load():
    return Load(TraceSampling(max_rate=MAX_RATE))


def test_nothing_is_left_out_below_the_rate(load):
    """The very same list is handed on."""
    assert load.run(5, 900) == [1.0] * 20
    rows = load.rows(10)
    assert load.sampling.kept(rows) is rows
    assert load.sampling.left_out == 0


def test_a_trace_is_kept_or_left_out_as_a_whole(load):
    """By its id alone, so a second agent under the same load agrees."""
    load.run(3, 4_000)
    other = Load(TraceSampling(max_rate=MAX_RATE), seed=2)
    other.run(3, 4_000)
    rows = [one for one in load.rows(500) for _ in range(3)]
    kept = load.sampling.kept(rows)
    assert kept == other.sampling.kept(rows)
    assert len(kept) == 3 * len({one[1] for one in kept})
    assert 0 < len(kept) < len(rows)


def test_the_low_56_bits_decide():
    """As in OpenTelemetry's consistent probability sampling: kept from the threshold upwards."""
    sampling = TraceSampling(max_rate=MAX_RATE)
    load = Load(sampling)
    load.run(1, 1_600)
    assert sampling.share == 0.5
    half = 1 << 55
    below, at = (bytes(9) + number.to_bytes(7, "big") for number in (half - 1, half))
    high = b"\xff" * 9 + (half - 1).to_bytes(7, "big")
    rows = [row("x", 0, 1, span=2, trace=trace) for trace in (below, at, high)]
    assert [one[1] for one in sampling.kept(rows)] == [at]


def test_as_many_are_kept_as_the_share_says(load):
    """And what was left out is counted, span by span."""
    (*_, share) = load.run(2, 5_000)
    before = load.sampling.left_out
    kept = load.sampling.kept(load.rows(20_000))
    assert share == pytest.approx(0.8 * MAX_RATE / 5_000)
    assert len(kept) / 20_000 == pytest.approx(share, rel=0.05)
    assert load.sampling.left_out - before == 20_000 - len(kept)


def test_down_within_a_second(load):
    """A sudden load is met before it has lasted two seconds; the longest burst passes once."""
    load.run(5, 500)
    shares = load.run(2, 20_000)
    assert shares[3:] == [pytest.approx(0.8 * MAX_RATE / 20_000)] * 5


def test_up_slowly_and_never_too_far(load):
    """At most twice as much every ten seconds, and all of it in the end."""
    load.run(2, 16_000)
    shares = load.run(90, 500)
    steps = sorted(set(shares))
    assert all(later <= 2 * earlier for earlier, later in pairwise(steps))
    assert shares == sorted(shares)
    assert (shares[round(CALM / TICK) - 2], shares[-1]) == (pytest.approx(0.05), 1.0)


@pytest.mark.parametrize("rate", [900, 1_100, 1_500, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_wavering_load_swings_nothing(rate, seed):
    """With a fifth more or less from tick to tick: one more step down at the most, and what is kept is well used."""
    load = Load(TraceSampling(max_rate=MAX_RATE), seed)
    load.run(5, rate, spread=0.2)
    shares = load.run(60, rate, spread=0.2)
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) <= 2
    assert 0.5 * min(MAX_RATE, rate) <= shares[-1] * rate <= MAX_RATE


def test_a_load_that_comes_and_goes_is_met_once():
    """Bursts a few seconds apart keep the share down instead of dragging it up and down."""
    load = Load(TraceSampling(max_rate=MAX_RATE))
    shares = [share for _ in range(20) for share in load.run(2, 8_000) + load.run(4, 300)]
    assert len(set(shares[8:])) == 1


def torn(sampling, seconds_before, rate_before, rate_after, duration_ms=2_000):
    """Turns whose stage came before the load changed, and whose own span *seconds_before* later."""
    load = Load(sampling)
    turns = TurnAssembler()
    load.run(3, rate_before)
    traces = [load.rng.randbytes(16) for _ in range(400)]
    turns.add(sampling.kept([row("stt", 0, 300, span=2, trace=one) for one in traces]), load.now)
    load.run(seconds_before, rate_after)
    roots = [row("", 0, duration_ms, span=1, parent=0, turn="answer", trace=one) for one in traces]
    turns.add(sampling.kept(roots), load.now)
    found = turns.close(load.now + 1).shown
    load.run(30, rate_after)
    rootless = turns.close(load.now + 10).final
    return found, [one for one in rootless if NO_ROOT in one.marks], load


def test_no_torn_turn_is_told_when_the_share_falls():
    """What lost its own span is no turn without root: it is held back."""
    sampling = TraceSampling(max_rate=MAX_RATE)
    found, rootless, load = torn(sampling, 2, 500, 4_000)
    assert (0 < len(found) < 400, len(found) + len(rootless)) == (True, 400)
    assert sampling.whole(found, load.now) == found
    assert sampling.whole(rootless, load.now) == []


def test_no_torn_turn_is_told_when_the_share_rises():
    """A turn that began under the smaller share may lack its first spans."""
    sampling = TraceSampling(max_rate=MAX_RATE)
    load = Load(sampling)
    load.run(2, 4_000)
    share = sampling.share
    roots = [row("", 0, 2_000, span=1, parent=0, turn="answer", trace=load.rng.randbytes(16)) for _ in range(400)]
    before = {one[1] for one in sampling.kept(roots)}
    load.run(CALM + 1.5, 100)
    turns = TurnAssembler()
    turns.add(sampling.kept(roots), load.now)
    found = turns.close(load.now + 1).shown
    assert before < {turn.trace_id for turn in found}
    assert {turn.trace_id for turn in sampling.whole(found, load.now)} == before
    assert sampling.share == share
    load.run(ARRIVAL + 2, 100)
    assert sampling.whole(found, load.now) == found
    assert sampling.share > share
