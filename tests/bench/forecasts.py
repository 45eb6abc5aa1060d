"""What forecasts cost the agent: an operation added and learnt from under load, a tick at worst, and their state.

Operations are spans of a voice pipeline, one in six an LLM call, or LLM calls alone; each as rows, with the ticks of an
agent under 2,000 spans a second. Times are CPU times of this thread.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import tracemalloc
from collections.abc import Iterator, Sequence

from bench.report import Figure, run

from otel_latency.aggregate.forecasts import Forecasts
from otel_latency.records import LLMProfile, Profile, SpanRow

RATE = 2_000
TICK = 0.25
START_NS = 1_795_260_000_000_000_000
MODELS = tuple(LLMProfile("openai", f"model-{number % 4}", f"task-{number}", "chat") for number in range(12))
CALLS = tuple(Profile("bot", "llm", llm=model) for model in MODELS)
STAGES = tuple(Profile("bot", name) for name in ("endpointing", "stt", "retrieval", "tts", "filter"))
MANY = tuple(Profile(f"bot-{number}", stage.stage) for number in range(5) for stage in STAGES)


def batches(profiles: Sequence[Profile], operations: int) -> Iterator[list[SpanRow]]:
    """The rows of each tick."""
    draw = random.Random(1)
    size = round(RATE * TICK)
    for begun in range(0, operations, size):
        rows: list[SpanRow] = []
        for number in range(begun, begun + size):
            profile = draw.choice(profiles)
            end = START_NS + number * 500_000
            said = None
            if profile.llm:
                said = {"input_tokens": draw.randint(50, 5_000), "output_tokens": draw.randint(5, 500)}
            length = int(1e9 * draw.lognormvariate(0, 0.4))
            rows.append((profile, draw.randbytes(16), draw.randbytes(8), b"", end - length, end, said))
        yield rows


def fed(profiles: Sequence[Profile], operations: int) -> tuple[Forecasts, float, list[float]]:
    """The forecasts; CPU seconds of all `add`, and of each `learn`."""
    forecasts, added, learnt = Forecasts(), 0.0, []
    now = START_NS / 1e9
    for rows in batches(profiles, operations):
        begun = time.thread_time()
        forecasts.add(rows)
        between = time.thread_time()
        now += TICK
        forecasts.learn(now)
        added += between - begun
        learnt.append(time.thread_time() - between)
    return forecasts, added, learnt


def costs(name: str, profiles: Sequence[Profile], operations: int) -> Iterator[Figure]:
    forecasts, added, learnt = fed(profiles, operations)
    count = operations - operations % round(RATE * TICK)
    yield Figure(f"{name}: add, per operation", added / count * 1e6, "us", 0.3)
    total = (added + sum(learnt)) / count * 1e6
    detail = f"{forecasts.learnt} of {count} learnt, {sum(learnt) / forecasts.learnt * 1e6:.0f} us each"
    yield Figure(f"{name}: add and learn, per operation", total, "us", 8.0, detail)
    ordered = sorted(learnt)
    yield Figure(f"{name}: a tick, 99 % of them", ordered[int(0.99 * len(ordered))] * 1e3, "ms", 10.0)


def state(profiles: Sequence[Profile], each: int) -> tuple[float, float, float, float]:
    """KiB of a full operation, dumped and in memory; ms to dump and to load all of them."""
    gc.collect()
    tracemalloc.start()
    forecasts = Forecasts(per_tick=1_000)
    for rows in batches(profiles, each * len(profiles)):
        forecasts.add(rows)
        forecasts.learn(START_NS / 1e9)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    begun = time.thread_time()
    dumped = forecasts.dump()
    between = time.thread_time()
    Forecasts().load(dumped)
    ended = time.thread_time()
    return (
        len(dumped) / len(profiles) / 1024,
        held / len(profiles) / 1024,
        (between - begun) * 1e3,
        (ended - between) * 1e3,
    )


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    yield from costs("voice turns", [*STAGES, *CALLS[:1]], arguments.operations)
    yield from costs("LLM calls", CALLS, arguments.operations)
    # Calls share their model's watch, 8 KiB; a stage has its own.
    for name, profiles, bar in (("LLM calls", CALLS, 16.0), ("stages, each with its watch", MANY, 24.0)):
        dumped, held, dump, load = state(profiles, 500)
        detail = f"{dump / len(profiles):.2g} ms to dump, {load / len(profiles):.2g} to load"
        yield Figure(f"{name}: state of an operation", dumped, "KiB", bar, detail)
        yield Figure(f"{name}: memory of an operation", held, "KiB")
    forecasts, _, _ = fed(CALLS, 10_000)
    rounds = 200
    for what, asked in (("one model", {"provider": "openai", "model": "model-1"}), ("all models", {})):
        begun = time.thread_time()
        for number in range(rounds):
            forecasts.estimate_json(f"task-{number % 12}", **asked)
        yield Figure(f"estimate of a task, {what}", (time.thread_time() - begun) / rounds * 1e6, "us")


if __name__ == "__main__":
    run(measure, __doc__, {"operations": (100_000, "operations to take in")})
