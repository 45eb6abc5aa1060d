"""Predicted durations against the plain heuristic: the mean of 100 calls, scaled by tokens, plus or minus its CV.

Over the measured streams in `../shared/data/latency` where they lie beside the checkout, and over simulated ones of
hosted and of reasoning models. Every call is predicted at its launch and learnt at its end. Ratios are geometric means
over streams; the bars of measured streams are those of the reference design, of simulated ones what it reaches there.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from statistics import fmean, median
from typing import NamedTuple

from bench.report import Figure, run
from predict.streams import (
    MEASURED,
    Call,
    Forecast,
    events,
    forecasts,
    hosted,
    interleaved,
    judged,
    measured,
    reasoning,
)

from otel_latency.predict import Predictor

ENOUGH, WARM = 20, 30
ENOUGH_RUNNING = 30
SHOWN = 2000
"""Calls that are looked at while they run."""
HALF = 0.5
NUMBER = re.compile(r"\d+(?:\.\d+)?")
RATES = 0.3, 1.5
FEW = 2000
"""Calls below which a rate of one in a hundred is known to half of itself only."""
LEVELS = (0.1, 0.5, 0.9)
BARS = {
    "llmd": (0.65, 0.57, 0.27),
    "llmperf": (0.926, 0.969, 0.88),
    "hosted": (0.71, 0.71, 0.43),
    "reasoning": (0.8, 0.81, 0.14),
}
"""MAE, pinball loss, and MAE when the answer's length is known: as shares of the heuristic's."""
STREAMS_OFF = {"llmperf": 5.0}
"""Of 150 calls the share has a standard deviation of 3.3 points by chance alone."""


class Said(NamedTuple):
    """p10, p50, p90 and confidence at a call's launch, and what it took."""

    low: float
    middle: float
    high: float
    confidence: float
    seconds: float


def heuristic(stream: Sequence[Call]) -> list[Said | None]:
    """The mean of the operation's last 100 calls times tokens over mean tokens; words of count and scatter."""
    seen: dict[str, deque[tuple[float, int]]] = {}
    said: list[Said | None] = [None] * len(stream)
    for is_launch, index, _ in events(stream):
        call = stream[index]
        past = seen.setdefault(call.task, deque(maxlen=100))
        if not is_launch:
            past.append((call.seconds, call.input_tokens))
        elif past:
            mean, tokens = fmean(seconds for seconds, _ in past), fmean(tokens for _, tokens in past)
            scatter = math.sqrt(fmean((seconds - mean) ** 2 for seconds, _ in past)) / mean
            middle = max(mean * call.input_tokens / tokens if tokens else mean, 1e-3)
            steady = max(0.0, 1 - scatter)
            base = (0.3, 0.3) if len(past) < 10 else (0.6, 0.2) if len(past) < 50 else (0.8, 0.2)
            low, high = (max(1e-3 * middle, middle * (1 + z * scatter)) for z in (-1.2816, 1.2816))
            said[index] = Said(low, middle, high, base[0] + base[1] * steady, call.seconds)
    return said


def ours(said: Sequence[Forecast]) -> list[Said | None]:
    return [
        Said(each.estimate.low, each.estimate.seconds, each.estimate.high, each.estimate.confidence, each.call.seconds)
        if each.history
        else None
        for each in said
    ]


def mae(said: Sequence[Said]) -> float:
    return fmean(abs(each.seconds - each.middle) for each in said)


def pinball(said: Sequence[Said]) -> float:
    def loss(off: float, level: float) -> float:
        return level * off if off > 0 else (level - 1) * off

    return fmean(loss(each.seconds - each[place], level) for each in said for place, level in enumerate(LEVELS))


def coverage(said: Sequence[Said]) -> float:
    return 100 * fmean(each.low <= each.seconds <= each.high for each in said)


def miscalibration(said: Sequence[Said]) -> float:
    """Points between the confidence and the share within 25 %, over ten bins of confidence."""
    bins: list[list[Said]] = [[] for _ in range(10)]
    for each in said:
        bins[min(int(10 * each.confidence), 9)].append(each)
    apart = [
        abs(sum(each.confidence - (abs(each.seconds - each.middle) <= 0.25 * each.middle) for each in bin_))
        for bin_ in bins
    ]
    return 100 * sum(apart) / len(said)


def geometric(ratios: Sequence[float]) -> float:
    return math.exp(fmean(map(math.log, ratios)))


def accuracy(name: str, streams: Sequence[Sequence[Call]]) -> Iterator[Figure]:
    theirs, mine, hinted = [], [], []
    for stream in streams:
        seed, own, hint = heuristic(stream), ours(forecasts(stream)), ours(forecasts(stream, hint=True))
        known = [index for index, each in enumerate(seed) if each is not None]
        if len(known) >= ENOUGH:
            for rows, kept in ((seed, theirs), (own, mine), (hint, hinted)):
                kept.append([row for index in known if (row := rows[index]) is not None])
    bars = BARS[name]
    for what, loss, rows, bar in (
        ("MAE", mae, mine, bars[0]),
        ("pinball loss", pinball, mine, bars[1]),
        ("MAE, answer's length known", mae, hinted, bars[2]),
    ):
        ratio = geometric([loss(row) / loss(other) for row, other in zip(rows, theirs, strict=True)])
        yield Figure(f"{name}: {what}, to the heuristic's", ratio, "", bar)
    covered = fmean(map(coverage, mine))
    detail = f"covers {covered:.1f} %, the heuristic {fmean(map(coverage, theirs)):.1f}"
    yield Figure(f"{name}: 80 % interval, off 80", abs(covered - 80), "pts", 3.0, detail)
    each = fmean(abs(coverage(row) - 80) for row in mine)
    yield Figure(f"{name}: 80 % interval of each stream, off 80", each, "pts", STREAMS_OFF.get(name, 3.0))
    off, other = (fmean(map(miscalibration, rows)) for rows in (mine, theirs))
    yield Figure(f"{name}: confidence", off, "pts", 6.0, f"the heuristic {other:.1f}")


def while_running(name: str, said: Sequence[Forecast]) -> Iterator[Figure]:
    for times in (1.0, 1.5, 2.0):
        hits = []
        for each in said:
            elapsed = times * each.estimate.seconds
            if each.call.seconds > elapsed:
                left = each.estimate.remaining(elapsed)
                hits.append(left.low <= each.call.seconds - elapsed <= left.high)
        if len(hits) >= ENOUGH_RUNNING:
            missed = 100 * (1 - fmean(hits))
            detail = f"covers {100 - missed:.1f} % of {len(hits)} calls"
            yield Figure(f"{name}: outside of the interval at {times:g} x p50", missed, "%", 28.0, detail)


def shown(name: str, said: Sequence[Forecast]) -> Iterator[Figure]:
    """What people see of calls that run, ten times in each of the first four p50."""
    nothing = rose = shows = 0
    for each in said[:: max(1, len(said) // SHOWN)]:
        end = each.estimate.high
        for moment in range(1, 41):
            elapsed = moment / 10 * each.estimate.seconds
            if elapsed >= each.call.seconds:
                break
            left = each.estimate.remaining(elapsed)
            shows += 1
            nothing += left.seconds <= 0 or any(float(each) == 0 for each in NUMBER.findall(left.text))
            rose += elapsed < end < left.shown
            end = min(end, left.shown)
    detail = f"of {shows} looks"
    yield Figure(f'{name}: "0 s left" while it runs', nothing, "times", 0.0, detail)
    yield Figure(f"{name}: the shown end moves out before it has passed", rose, "times", 0.0, detail)


def streamed(name: str, said: Sequence[Forecast]) -> Iterator[Figure]:
    """Errors of what is left, told the tokens that have come (evenly, as far as is known) to those told the time."""
    timed, told, hits = [], [], []
    for each in said:
        call, elapsed = each.call, HALF * each.estimate.seconds
        if call.first_token is None or not call.first_token < elapsed < call.seconds:
            continue
        streaming = (elapsed - call.first_token) / (call.seconds - call.first_token)
        left = call.seconds - elapsed
        timed.append(abs(left - each.estimate.remaining(elapsed).seconds) / each.estimate.seconds)
        rest = each.estimate.remaining(elapsed, int(streaming * call.output_tokens), call.first_token)
        told.append(abs(left - rest.seconds) / each.estimate.seconds)
        hits.append(rest.low <= left <= rest.high)
    if len(hits) >= ENOUGH_RUNNING:
        detail = f"covers {100 * fmean(hits):.1f} % of {len(hits)} calls at {HALF:g} x p50"
        yield Figure(f"{name}: error told the tokens, to that without", fmean(told) / fmean(timed), "", 1.0, detail)


def slow_calls(name: str, streams: Sequence[Sequence[Call]]) -> Iterator[Figure]:
    """Calls that are flagged at p < 1 % by their time alone, and when the answer's length is known."""
    warm = [each for stream in streams for each in judged(stream) if each.estimate.samples >= WARM]
    faults = [each.call.is_late for each in warm]
    by_time = [each.estimate.tail(each.call.seconds) < 0.01 for each in warm]
    given = [each.slow is not None for each in warm]
    for what, flags in (("by its time", by_time), ("given the tokens", given)):
        yield flag_rate(f"{name}: flagged {what}", flags, faults)


def flag_rate(what: str, flags: Sequence[bool], faults: Sequence[bool]) -> Figure:
    """How far the share of flags is from the middle of what is allowed; of few calls, less what chance explains.

    Where faults were simulated they are no false alarms, and the fewer others are flagged the better.
    """
    false = [flag for flag, is_fault in zip(flags, faults, strict=True) if not is_fault]
    share, lowest, highest = 100 * fmean(false), *RATES
    if any(faults):
        found = fmean(flag for flag, is_fault in zip(flags, faults, strict=True) if is_fault)
        detail = f"of {len(false)} calls, {found:.0%} of {sum(faults)} faults; {fmean(flags):.2%} of all"
        return Figure(f"{what}: other calls", share, "%", highest, detail)
    chance = 200 * math.sqrt(0.01 * 0.99 / len(flags)) if len(flags) < FEW else 0.0
    off = max(0.0, abs(share - (lowest + highest) / 2) - chance)
    detail = f"{share:.2f} % of {len(flags)} calls; {lowest:g} to {highest:g}"
    return Figure(f"{what}: off the middle", off, "pts", (highest - lowest) / 2, detail)


def doubled(streams: Sequence[Sequence[Call]]) -> Iterator[Figure]:
    """One call in 50 takes twice as long; the question is asked when it is over."""
    draw = random.Random(4)
    faulty = [[twice(call) if draw.random() < 0.02 else call for call in stream] for stream in streams]
    warm = [each for stream in faulty for each in judged(stream) if each.estimate.samples >= WARM]
    missed = 1 - fmean(each.slow is not None for each in warm if each.call.is_late)
    yield Figure("reasoning: calls at half the speed that are missed", 100 * missed, "%", 10.0)
    flags, faults = [each.slow is not None for each in warm], [each.call.is_late for each in warm]
    yield flag_rate("reasoning: flagged where some are at half the speed", flags, faults)


def twice(call: Call) -> Call:
    return call._replace(seconds=2 * call.seconds, is_late=True)


def shifts(name: str, streams: Sequence[Sequence[Call]]) -> Iterator[Figure]:
    draw = random.Random(5)
    faults: dict[str, Callable[[float], float]] = {
        "x 1.25": lambda seconds: 1.25 * seconds,
        "8 % of calls x 5": lambda seconds: seconds * (5 if draw.random() < 0.08 else 1),
    }
    alarms, calls = 0, 0
    for stream in streams:
        alarms, calls = alarms + len(announced(stream, len(stream), None)), calls + len(stream)
    yield Figure(f"{name}: false alarms per 1,000 calls", 1000 * alarms / calls, "", 0.6, f"{alarms} in {calls}")
    for fault, slower in faults.items():
        delays = []
        for stream in streams:
            half = len(stream) // 2
            after = [place - half for place in announced(stream[: half + 200], half, slower) if place >= half]
            delays += after[:1]
        missed = 100 * (1 - len(delays) / len(streams))
        yield Figure(f"{name}: {fault}: not found in 200 calls", missed, "%", 5.0 if fault == "x 1.25" else 10.0)
        if delays:
            yield Figure(f"{name}: {fault}: found after", median(delays), "calls", 30 if fault == "x 1.25" else 60)


def announced(stream: Sequence[Call], half: int, slower: Callable[[float], float] | None) -> list[int]:
    """After how many calls a shift was announced, each."""
    predictor, places = Predictor(), []
    for place, call in enumerate(stream):
        seconds = call.seconds if slower is None or place < half else slower(call.seconds)
        estimate = predictor.predict(call.provider, call.task, call.model, input_tokens=call.input_tokens)
        if predictor.observe(estimate, seconds, output_tokens=call.output_tokens) is not None:
            places.append(place)
    return places


def cost(stream: Sequence[Call]) -> Iterator[Figure]:
    """The best of ten rounds, CPU time: what it takes without the neighbours."""
    predictor = Predictor()
    predicted, learnt = [], []
    for _ in range(11):
        begun = time.process_time()
        said = [
            predictor.predict("any", "one", "model", input_tokens=call.input_tokens, in_flight=index % 20)
            for index, call in enumerate(stream)
        ]
        middle = time.process_time()
        for estimate, call in zip(said, stream, strict=True):
            predictor.observe(estimate, call.seconds, output_tokens=call.output_tokens)
        predicted.append(middle - begun)
        learnt.append(time.process_time() - middle)
    yield Figure("cost: predict", 1e6 * min(predicted[1:]) / len(stream), "us", 120.0)
    yield Figure("cost: learn", 1e6 * min(learnt[1:]) / len(stream), "us", 30.0)
    keys = 50
    many = Predictor()
    for index, call in enumerate(chain.from_iterable([stream] * (keys * 500 // len(stream) + 1))):
        estimate = many.predict("any", f"task-{index % keys}", "model", input_tokens=call.input_tokens)
        many.observe(estimate, call.seconds, output_tokens=call.output_tokens)
    yield Figure("cost: state of an operation", len(many.dump()) / keys / 1024, "KiB", 16.0, f"{keys} full ones")


def measure(_: argparse.Namespace) -> Iterator[Figure]:
    sets = {name: measured(name) for name in ("llmd", "llmperf")} if MEASURED.is_dir() else {}
    sets |= {"hosted": hosted(12), "reasoning": reasoning(4)}
    for name, streams in sets.items():
        yield from accuracy(name, streams)
        said = [each for stream in streams for each in forecasts(stream) if each.history >= WARM]
        yield from while_running(name, said)
        yield from shown(name, said)
        yield from streamed(name, said)
        yield from slow_calls(name, streams)
    yield from doubled(sets["reasoning"])
    yield from shifts("hosted", interleaved(hosted(30, seed=6)))
    yield from shifts("reasoning", interleaved(reasoning(10, seed=7)))
    yield from cost(interleaved(sets["reasoning"])[0])


if __name__ == "__main__":
    run(measure, __doc__)
