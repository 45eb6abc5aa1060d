"""Streams of calls to predict: simulated ones, measured ones, and the order in which their events come.

A stream is what one application sees: calls of one or more operations, in the order of their launch. Where launch and
finish are known, a call is learnt when it has finished, while others are in flight; else calls come one by one.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator, Sequence
from math import exp, sqrt
from pathlib import Path
from typing import NamedTuple

from otel_latency.predict import Estimate, Predictor, SlowCall

MEASURED = Path(__file__).parents[3] / "shared" / "data" / "latency"
"""Beside the checkout, where it exists."""


class Call(NamedTuple):
    stream: str
    provider: str
    task: str
    model: str
    input_tokens: int
    output_tokens: int
    seconds: float
    launch: float | None = None
    finish: float | None = None
    first_token: float | None = None
    is_late: bool = False
    """A simulated fault, which is no false alarm."""


class Forecast(NamedTuple):
    """What was said at a call's launch, after `history` calls of its operation had been learnt."""

    call: Call
    estimate: Estimate
    history: int


class Judged(NamedTuple):
    """A call that is over; `slow` is None where it was as usual."""

    call: Call
    estimate: Estimate
    slow: SlowCall | None


def measured(name: str) -> list[list[Call]]:
    """The streams of `<name>_requests.csv.gz`."""
    streams: dict[str, list[Call]] = {}
    with gzip.open(MEASURED / f"{name}_requests.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            call = Call(
                row["series"],
                row["provider"],
                row["op"],
                row["model"],
                int(row["input_tokens"]),
                int(row["output_tokens"]),
                float(row["latency_s"]),
                float(row["launch_s"]) if row["launch_s"] else None,
                float(row["finish_s"]) if row["finish_s"] else None,
                float(row["ttft_s"]) if row["ttft_s"] else None,
            )
            if call.seconds > 0:
                streams.setdefault(call.stream, []).append(call)
    return list(streams.values())


def hosted(models: int = 6, *, tasks: int = 12, calls: int = 150, seed: int = 1) -> list[list[Call]]:
    """Short tool calls of hosted models: half of the time is the start; one in 33 is a straggler."""
    draw = random.Random(seed)
    return [list(_hosted(f"hosted-{index}", draw, tasks, calls)) for index in range(models)]


def _hosted(model: str, draw: random.Random, tasks: int, calls: int) -> Iterator[Call]:
    start, each = draw.lognormvariate(-0.7, 0.5), draw.lognormvariate(-3.8, 0.6)
    noise, chatty = draw.choice((0.15, 0.25, 0.35)), draw.lognormvariate(0, 0.4)
    drift, lasting, width = 0.0, draw.choice((0.5, 0.9, 0.97)), draw.choice((0.05, 0.1, 0.2))
    for task in range(tasks):
        length, varied = draw.choice((25, 40, 60, 100)) * chatty, draw.choice((0.2, 0.35, 0.5))
        prompt = draw.choice((120, 250, 500))
        for _ in range(calls):
            tokens = int(prompt * draw.lognormvariate(0, 0.35))
            answer = max(1, int(length * (tokens / prompt) ** 0.15 * draw.lognormvariate(0, varied)))
            drift = lasting * drift + sqrt(1 - lasting * lasting) * draw.gauss(0, width)
            seconds = start * draw.lognormvariate(0, noise) + answer * each * draw.lognormvariate(0, 0.1)
            is_late = draw.random() < 0.03
            seconds *= exp(drift) * (1 + draw.expovariate(1) if is_late else 1)
            yield Call(model, "hosted", f"task-{task}", model, tokens, answer, seconds, is_late=is_late)


def reasoning(models: int = 3, *, tasks: int = 8, calls: int = 250, seed: int = 2) -> list[list[Call]]:
    """Reasoning models: nearly all of the time is the answer's length, which varies by factors."""
    draw = random.Random(seed)
    return [list(_reasoning(f"reasoning-{index}", draw, tasks, calls)) for index in range(models)]


def _reasoning(model: str, draw: random.Random, tasks: int, calls: int) -> Iterator[Call]:
    each, drift = draw.lognormvariate(-4.2, 0.4), 0.0
    for task in range(tasks):
        length, varied = draw.choice((80, 150, 300, 500)), draw.choice((0.6, 0.8, 1.0))
        for _ in range(calls):
            tokens = int(800 * draw.lognormvariate(0, 0.4))
            wide = varied * (2 if draw.random() < 0.1 else 1)
            answer = max(8, int(length * draw.lognormvariate(0, wide)))
            drift = 0.98 * drift + 0.2 * draw.gauss(0, 0.12)
            seconds = (0.08 + 2e-5 * tokens + answer * each) * exp(drift + draw.gauss(0, 0.08))
            yield Call(model, "vllm", f"task-{task}", model, tokens, answer, seconds)


def interleaved(streams: Sequence[Sequence[Call]], seed: int = 3) -> list[list[Call]]:
    """Each stream with its operations in random order, which takes any drift out."""
    draw = random.Random(seed)
    return [draw.sample(stream, len(stream)) for stream in streams]


def events(stream: Sequence[Call]) -> Iterator[tuple[bool, int, int]]:
    """Launches (True) and ends of calls by their index, and the calls in flight before each launch."""
    if stream[0].launch is None:
        for index in range(len(stream)):
            yield True, index, 0
            yield False, index, 0
        return
    moments = [(call.launch, True, index) for index, call in enumerate(stream)]
    moments += [(call.finish, False, index) for index, call in enumerate(stream)]
    running = 0
    for _, is_launch, index in sorted(moments):
        yield is_launch, index, running
        running += 1 if is_launch else -1


def judged(stream: Sequence[Call]) -> list[Judged]:
    """Each call of *stream* with what was said at its launch, and what was made of it at its end."""
    predictor, said, all_judged = Predictor(), {}, []
    for is_launch, index, running in events(stream):
        call = stream[index]
        if is_launch:
            said[index] = predictor.predict(
                call.provider, call.task, call.model, input_tokens=call.input_tokens, in_flight=running
            )
            continue
        estimate = said.pop(index)
        slow = predictor.slow_call(estimate, call.seconds, output_tokens=call.output_tokens)
        all_judged.append(Judged(call, estimate, slow))
        predictor.observe(estimate, call.seconds, output_tokens=call.output_tokens)
    return all_judged


def forecasts(stream: Sequence[Call], *, predictor: Predictor | None = None, hint: bool = False) -> list[Forecast]:
    """What is said of each call of *stream* at its launch; with *hint* the answer's length is known."""
    predictor = Predictor() if predictor is None else predictor
    said: dict[int, Forecast] = {}
    for is_launch, index, running in events(stream):
        call = stream[index]
        if is_launch:
            estimate = predictor.predict(
                call.provider,
                call.task,
                call.model,
                input_tokens=call.input_tokens,
                in_flight=running,
                output_tokens=call.output_tokens if hint else None,
            )
            said[index] = Forecast(call, estimate, estimate.samples)
        else:
            predictor.observe(said[index].estimate, call.seconds, output_tokens=call.output_tokens)
    return [said[index] for index in range(len(stream))]
