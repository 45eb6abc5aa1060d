"""What timing adds to the latency of messages in a busy process: a hundred sessions at a time, a real agent beside it.

One asyncio process. Fifty sessions start each second and live for two; each handles ten messages a second, evenly
spaced from a random moment on. A message is a turn of three stages with a short wait each, and a streamed model call of
ten chunks in the last one. The load is open: a message's latency counts from the moment that it was due, however late
the loop was, so that no delay hides another.

The same load runs with the library, which exports to the agent, and without it, in turns within one process; a phase
starts when the sessions of the one before have ended and its spans are delivered. Percentiles are of all messages of
all phases; the interval for the difference is that of its bootstrap over phases.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from statistics import median
from types import SimpleNamespace

from bench.report import Figure, run
from bench.stream_shapes import chat, openai
from running import running_agent

import otel_latency as latency
from otel_latency.sketch import nearest_rank

STARTS_PER_SECOND = 50
LIFE = 2.0
INTERVAL = 0.1
WAIT = 0.001
CHUNKS = [openai(chat(content=word)) for word in ("The", " sky", " is", " blue", ".", *[" word"] * 5)]


async def answer_stream() -> AsyncIterator[object]:
    for chunk in CHUNKS:
        await asyncio.sleep(0)
        yield chunk


def nothing(*_names: str, **_attributes: object) -> object:
    return nullcontext(SimpleNamespace(stream=lambda stream: stream))


OURS = SimpleNamespace(turn=latency.turn, stage=latency.stage, llm_call=latency.llm_call)
BARE = SimpleNamespace(turn=nothing, stage=nothing, llm_call=nothing)


async def message(way: SimpleNamespace, session: str) -> None:
    with way.turn("answer", session=session):
        with way.stage("transcribe"):
            await asyncio.sleep(WAIT)
        with way.stage("retrieve", documents=3):
            await asyncio.sleep(WAIT)
        with way.stage("speak"):
            await asyncio.sleep(WAIT)
            with way.llm_call("draft", provider="openai", model="m") as call:
                async for _ in call.stream(answer_stream()):
                    pass


async def one_message(way: SimpleNamespace, session: str, due: float, taken: list[float]) -> None:
    await message(way, session)
    taken.append(asyncio.get_running_loop().time() - due)


async def one_session(way: SimpleNamespace, session: str, start: float, taken: list[float]) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(LIFE / INTERVAL)):
            due = start + number * INTERVAL
            await asyncio.sleep(due - loop.time())
            tasks.create_task(one_message(way, session, due, taken))


async def phase(way: SimpleNamespace, seconds: float, rng: random.Random) -> tuple[list[float], float]:
    """The latency of each message, and seconds from the first to be due to the last to end."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    begun = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(seconds * STARTS_PER_SECOND)):
            start = begun + number / STARTS_PER_SECOND
            await asyncio.sleep(start - loop.time())
            start += rng.uniform(0, INTERVAL)
            tasks.create_task(one_session(way, f"session-{number}", start, taken))
    return taken, loop.time() - begun


def percentile(values: list[float], q: float) -> float:
    return sorted(values)[nearest_rank(q, len(values)) - 1] * 1000


def pooled(phases: list[list[float]]) -> list[float]:
    return [taken for each in phases for taken in each]


def added(ours: list[list[float]], bare: list[list[float]], rng: random.Random) -> tuple[float, float, float]:
    """Milliseconds added to the 99 %, with the ends of its 90 % interval."""

    def difference(mine: list[list[float]], theirs: list[list[float]]) -> float:
        return percentile(pooled(mine), 0.99) - percentile(pooled(theirs), 0.99)

    again = sorted(difference(rng.choices(ours, k=len(ours)), rng.choices(bare, k=len(bare))) for _ in range(200))
    return difference(ours, bare), again[10], again[-11]


def measure(arguments) -> Iterator[Figure]:
    rng = random.Random(1)
    found: dict[str, list[list[float]]] = {"bare": [], "ours": []}
    rates: list[float] = []
    with running_agent() as agent, asyncio.Runner() as runner:
        latency.configure(service="bench", endpoint=f"http://127.0.0.1:{agent.http_port}")
        for number in range(2 * arguments.rounds + 2):
            name, way = (("ours", OURS), ("bare", BARE))[number % 2]
            taken, lasted = runner.run(phase(way, arguments.seconds, rng))
            latency.flush()
            if number >= 2:  # the first two warm up
                found[name].append(taken)
                rates.append(len(taken) / (lasted - LIFE))
        latency.shutdown()
    offered = STARTS_PER_SECOND * LIFE / INTERVAL
    for name, phases in found.items():
        yield Figure(f"{name}: p50 of {len(pooled(phases))} messages", percentile(pooled(phases), 0.5), "ms")
        yield Figure(f"{name}: p99", percentile(pooled(phases), 0.99), "ms")
    yield Figure("messages a second", median(rates), "/s", detail=f"{offered:g} offered")
    value, low, high = added(found["ours"], found["bare"], rng)
    yield Figure("added to the p99 of a message", value, "ms", 1.0, f"90 % interval {low:.2f} to {high:.2f} ms")


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (5, "phases of each"), "seconds": (4.0, "of session starts in a phase")})
