"""Under load whole traces are left out: the same ones everywhere, as many as needed, and no turn is torn by it."""

from __future__ import annotations

import random

import pytest
from traces import TRACE, row

from otel_latency.aggregate.turn import NO_ROOT
from otel_latency.aggregate.turn_sampling import ARRIVAL, CALM, LONG, SHORT, TraceSampling
from otel_latency.aggregate.turns import TurnAssembler

TICK = 0.25
MAX_RATE = 1_000.0
BURST = 10_000
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
            self.sampling.kept([ROW] * count, self.now)
            self.now += TICK
            self.sampling.tick(self.now)
            shares.append(self.sampling.share)
        return shares

    def arrive(self, arrivals, seconds):
        """How many spans were kept of *arrivals*: (time, count) pairs, each span of a trace of its own."""
        kept, until = 0, self.now + seconds
        arrivals = sorted(arrivals, reverse=True)
        while self.now < until:
            while arrivals and arrivals[-1][0] < self.now + TICK:
                at, count = arrivals.pop()
                kept += len(self.sampling.kept(self.rows(count), at))
            self.now += TICK
            self.sampling.tick(self.now)
        return kept

    def rows(self, count):
        return [(*ROW[:1], self.rng.randbytes(16), *ROW[2:]) for _ in range(count)]


def sampling_of(held=(), max_rate=MAX_RATE, burst=BURST) -> TraceSampling:
    return TraceSampling(held=held, max_rate=max_rate, burst=burst)


@pytest.fixture
def load():
    return Load(sampling_of())


def test_nothing_is_left_out_below_the_rate(load):
    """The very same list is handed on."""
    assert load.run(30, 999) == [1.0] * 120
    rows = load.rows(10)
    assert load.sampling.kept(rows, load.now) is rows
    assert (load.sampling.left_out, load.sampling.left_out_at) == (0, None)


def batches(size, processes, seconds, period=5.0, seed=1, spread=5.0):
    """What SDKs send that export every *period*; with a *spread* of 0 all at the same time."""
    rng = random.Random(seed)
    starts = [rng.uniform(0, spread) for _ in range(processes)]
    return [(start + number * period, size) for start in starts for number in range(round(seconds / period))]


BEARABLE = {
    "a long trace at once, at idle": [(10.1, 4_001)],
    "all that can be held, at once": [(10.1, 20_000)],
    "all that can be held, in batches": [(10.1, 500)] * 40,
    "one large batch every five seconds": batches(3_000, 1, 60),
    "one of nearly all that the rate allows": batches(9_900, 1, 60),
    "twenty processes, each in its own time": batches(512, 20, 60),
    "nineteen processes, all at the same time": batches(512, 19, 60, spread=0.0),
    "dozens of small ones": batches(100, 90, 60),
}


@pytest.mark.parametrize("arrivals", BEARABLE.values(), ids=BEARABLE)
def test_batches_are_no_load(arrivals):
    """What came in a moment is nothing that will go on: nothing is left out, and nothing moves."""
    load = Load(TraceSampling(held=()))
    assert load.arrive(arrivals, 70) == sum(count for _, count in arrivals)
    assert (load.sampling.share, load.sampling.left_out_at) == (1.0, None)


@pytest.mark.parametrize("seed", range(10))
def test_what_the_promise_allows_is_kept(seed):
    """Any arrivals of which neither the long average nor the short sum is too much."""
    rng, arrivals = random.Random(seed), []
    for at in sorted(rng.uniform(0, 90) for _ in range(400)):
        room = min(
            limit - sum(count for when, count in arrivals if when > at - seconds - TICK)
            for seconds, limit in ((LONG, int(LONG * MAX_RATE)), (SHORT, BURST))
        )
        arrivals.append((at, min(room, round(rng.paretovariate(0.6) * 20))))
    load = Load(sampling_of())
    assert sum(count for _, count in arrivals) > 50 * MAX_RATE
    assert load.arrive(arrivals, 90) == sum(count for _, count in arrivals)


@pytest.mark.parametrize("size", [1, 64, 512, 8_192, 20_000])
def test_a_flood_gets_in_what_can_be_held(size):
    """From idle, 300,000 spans a second: met within the tick in which there is no room any more."""
    load = Load(TraceSampling(held=()))
    load.now = 3_600.0
    flood = [(load.now + k * size / 300_000, size) for k in range(300_000 // size)]
    kept = load.arrive(flood, 1.0)
    assert 16_000 <= kept <= 24_000
    assert load.sampling.share < 0.02


def test_a_burst_that_is_too_much_costs_what_is_too_much(load):
    """The share falls by no more than it has to, and is the right one as soon as the load is known."""
    arrivals = batches(512, 12, 120, spread=0.0)
    kept = load.arrive(arrivals, 20)
    assert kept >= BURST
    before = load.now
    kept = load.arrive([(at, count) for at, count in arrivals if at >= before], 100)
    assert 0.75 * MAX_RATE <= kept / 100 <= MAX_RATE
    assert load.sampling.share == pytest.approx(0.8 * MAX_RATE / (512 * 12 / 5), rel=0.05)


def test_a_trace_is_kept_or_left_out_as_a_whole(load):
    """By its id alone, so a second agent under the same load agrees."""
    load.run(20, 4_000)
    other = Load(sampling_of(), seed=2)
    other.run(20, 4_000)
    rows = [one for one in load.rows(500) for _ in range(3)]
    kept = load.sampling.kept(rows, load.now)
    assert kept == other.sampling.kept(rows, load.now)
    assert len(kept) == 3 * len({one[1] for one in kept})
    assert 0 < len(kept) < len(rows)


def test_the_low_56_bits_decide(load):
    """As in OpenTelemetry's consistent probability sampling: kept from the threshold upwards."""
    load.run(20, 1_600)
    assert load.sampling.share == 0.5
    half = 1 << 55
    below, at = (bytes(9) + number.to_bytes(7, "big") for number in (half - 1, half))
    high = b"\xff" * 9 + (half - 1).to_bytes(7, "big")
    rows = [row("x", 0, 1, span=2, trace=trace) for trace in (below, at, high)]
    assert [one[1] for one in load.sampling.kept(rows, load.now)] == [at]


def test_as_many_are_kept_as_the_share_says(load):
    """And what was left out is counted, span by span, with the time of the last."""
    (*_, share) = load.run(30, 5_000)
    before = load.sampling.left_out
    kept = sum(len(load.sampling.kept(load.rows(1_000), load.now)) for _ in range(5))
    assert share == pytest.approx(0.8 * MAX_RATE / 5_000)
    assert kept / 5_000 == pytest.approx(share, rel=0.1)
    assert (load.sampling.left_out - before, load.sampling.left_out_at) == (5_000 - kept, load.now)


def test_up_once_it_is_calm(load):
    """Not before `CALM` seconds have allowed it, and then as far as they do."""
    load.run(2, 16_000)
    quiet = load.run(60, 500)
    assert quiet == sorted(quiet)
    assert max(quiet[: round(CALM / TICK) - 2]) == quiet[0] < 0.2
    assert quiet[-1] == 1.0


@pytest.mark.parametrize("rate", [900, 1_100, 1_500, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_a_wavering_load_swings_nothing(rate, seed):
    """With a fifth more or less from tick to tick the share stands still, and what is kept is well used."""
    load = Load(sampling_of(), seed)
    load.run(60, rate, spread=0.2)
    shares = load.run(120, rate, spread=0.2)
    assert len(set(shares)) == 1
    assert 0.5 * min(MAX_RATE, rate) <= shares[-1] * rate <= 1.1 * MAX_RATE


def test_a_load_that_comes_and_goes_is_met_once(load):
    """Bursts a few seconds apart keep the share down instead of dragging it up and down."""
    shares = [share for _ in range(30) for share in load.run(2, 8_000) + load.run(4, 300)]
    assert len(set(shares[len(shares) // 3 :])) == 1


def torn(sampling, turns, seconds_before, rate_before, rate_after, duration_ms=2_000):
    """Turns whose stage came before the load changed, and whose own span *seconds_before* later."""
    load = Load(sampling)
    load.run(3, rate_before)
    traces = [load.rng.randbytes(16) for _ in range(400)]
    turns.add(sampling.kept([row("stt", 0, 300, span=2, trace=one) for one in traces], load.now), load.now)
    load.run(seconds_before, rate_after)
    roots = [row("", 0, duration_ms, span=1, parent=0, turn="answer", trace=one) for one in traces]
    turns.add(sampling.kept(roots, load.now), load.now)
    found = turns.close(load.now + 1).shown
    load.run(30, rate_after)
    rootless = turns.close(load.now + 10).final
    return found, [one for one in rootless if NO_ROOT in one.marks], load


def test_no_turn_is_torn_when_the_share_falls():
    """What is held already stays: every one of those turns is whole, and told."""
    turns = TurnAssembler()
    sampling = sampling_of(turns)
    found, rootless, load = torn(sampling, turns, 5, 500, 4_000)
    assert sampling.share < 0.5
    assert (len(found), rootless) == (400, [])
    assert {len(turn.stages) for turn in found} == {1}
    assert sampling.whole(found, load.now) == found


def test_what_nobody_holds_any_more_is_left_out(load):
    """Only while something of it waits to be put together does a trace stay."""
    turns = TurnAssembler()
    sampling = sampling_of(turns)
    low = bytes(15) + b"\1"
    turns.add(sampling.kept([row("", 0, 1, span=1, parent=0, turn="answer", trace=low)], 0.0), 0.0)
    Load(sampling).run(20, 4_000)
    later = [row("stt", 0, 1, span=2, trace=low)]
    assert sampling.kept(later, 20.0) == later
    turns.flush()
    assert sampling.kept(later, 20.0) == []


def test_what_is_held_cannot_flood_either():
    """When there is no room at all, such traces are cut off as well, and none of them is told as a turn."""
    turns = TurnAssembler()
    sampling = sampling_of([TRACE])
    load = Load(sampling)
    turns.add([row("", 0, 1, span=1, parent=0, turn="answer", trace=TRACE)], 0.0)
    kept = load.arrive([(4 + k / 100, 500) for k in range(100)], 4)
    for k in range(100):
        kept += len(sampling.kept([row("x", 0, 1, span=2, trace=TRACE)] * 500, load.now + k / 100))
    assert kept <= 1.5 * BURST
    assert sampling.whole(turns.close(load.now + 1).shown, load.now + 1) == []
    assert sampling.left_out_at == load.now + 1


def test_no_torn_turn_is_told_when_the_share_rises():
    """A turn that began under the smaller share may lack its first spans."""
    turns = TurnAssembler()
    sampling = sampling_of(turns)
    load = Load(sampling)
    load.run(15, 4_000)
    share = sampling.share
    roots = [row("", 0, 2_000, span=1, parent=0, turn="answer", trace=load.rng.randbytes(16)) for _ in range(400)]
    before = {one[1] for one in sampling.kept(roots, load.now)}
    while len(sampling.kept(roots, load.now)) == len(before):
        load.run(TICK, 100)
    turns.add(sampling.kept(roots, load.now), load.now)
    found = turns.close(load.now + 1).shown
    assert before < {turn.trace_id for turn in found}
    assert {turn.trace_id for turn in sampling.whole(found, load.now)} == before
    assert sampling.share == share
    load.run(ARRIVAL + 2, 100)
    assert sampling.whole(found, load.now) == found
    assert sampling.share > share
