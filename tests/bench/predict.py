"""Predicted durations against the plain heuristic: the mean of 100 calls, scaled by tokens, plus or minus its CV.

Over the measured streams in `../shared/data/latency` where they lie beside the checkout, and over simulated ones of
hosted and of reasoning models. Every call is predicted at its launch and learnt at its end. Ratios are geometric means
over streams; the bars of measured streams are those of the reference design, of simulated ones what it reaches there.
"""

from __future__ import annotations

import argparse
import math
import random
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
    measured,
    reasoning,
)

from otel_latency.predict import Predictor

ENOUGH, WARM = 20, 30
LEVELS = (0.1, 0.5, 0.9)
BARS = {
    "llmd": (0.65, 0.57, 0.27),
    "llmperf": (0.926, 0.969, 0.88),
    "hosted": (0.71, 0.71, 0.43),
    "reasoning": (0.8, 0.81, 0.14),
}
"""MAE, pinball loss, and MAE when the answer's length is known: as shares of the heuristic's."""


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
    # In a short stream the first calls, with a range that is wide on purpose, are many.
    yield Figure(f"{name}: 80 % interval", abs(covered - 80), "pts", 3.0 if name != "llmperf" else 5.0, detail)
    off, other = (fmean(map(miscalibration, rows)) for rows in (mine, theirs))
    yield Figure(f"{name}: confidence", off, "pts", 6.0 if name != "llmperf" else 7.1, f"the heuristic {other:.1f}")


def while_running(name: str, said: Sequence[Forecast]) -> Iterator[Figure]:
    for times in (1.0, 1.5, 2.0):
        hits, nothing = [], 0
        for each in said:
            elapsed = times * each.estimate.seconds
            if each.call.seconds > elapsed:
                left = each.estimate.remaining(elapsed)
                hits.append(left.low <= each.call.seconds - elapsed <= left.high)
                nothing += left.text.startswith("0 ")
        if len(hits) >= WARM:
            detail = f"of {len(hits)} calls; {nothing} with 0 s left"
            missed = 100 * (1 - fmean(hits))
            yield Figure(f"{name}: outside of the interval at {times:g} x p50", missed, "%", 28.0, detail)


def slow_calls(name: str, said: Sequence[Forecast]) -> Iterator[Figure]:
    share = 100 * fmean(each.estimate.tail(each.call.seconds) < 0.01 for each in said)
    yield Figure(f"{name}: calls that are flagged at p < 1 %", share, "%", 1.5)


def doubled(streams: Sequence[Sequence[Call]]) -> Iterator[Figure]:
    """One call in 50 takes twice as long; the question is asked when it is over."""
    draw = random.Random(4)
    found, wrong = [], []
    for stream in streams:
        predictor = Predictor()
        for call in stream:
            estimate = predictor.predict(call.provider, call.task, call.model, input_tokens=call.input_tokens)
            is_slow = draw.random() < 0.02
            seconds = call.seconds * (2 if is_slow else 1)
            if estimate.samples >= WARM:
                slow = predictor.slow_call(estimate, seconds, output_tokens=call.output_tokens)
                (found if is_slow else wrong).append(slow is not None)
            predictor.observe(estimate, seconds, output_tokens=call.output_tokens)
    yield Figure("reasoning: calls at half the speed that are missed", 100 * (1 - fmean(found)), "%", 10.0)
    yield Figure("reasoning: other calls that are flagged", 100 * fmean(wrong), "%", 1.5)


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
        yield from slow_calls(name, said)
    yield from doubled(sets["reasoning"])
    yield from shifts("hosted", interleaved(hosted(30, seed=6)))
    yield from shifts("reasoning", interleaved(reasoning(10, seed=7)))
    yield from cost(interleaved(sets["reasoning"])[0])


if __name__ == "__main__":
    run(measure, __doc__)
