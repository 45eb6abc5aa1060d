"""What timing adds to the latency of messages in a busy process: a hundred sessions at a time, a real agent beside it.

One asyncio process. Fifty sessions start each second and live for two; each handles ten messages a second, evenly
spaced from a random moment on. A message is a turn of three stages with a short wait each, and a streamed model call of
ten chunks in the last one. The load is open: a message's latency counts from the moment that it was due, however late
the loop was, so that no delay hides another. What was due before a hundred sessions were there is left out.

Each round runs that load in two processes one after the other, in turns the other way round: bare, and with the library
that exports to the agent. The agent has a core of its own where there are several.

- The added p99 is the median over rounds of ours less the bare one. It has no bar where the bare p99 alone is over
  `STARVED`: then the machine is too busy with other things to tell.
- The CPU time that a message costs more than a bare one, least of all rounds, does not depend on who else is busy: that
  of the loop's thread, which encodes too, and that of all other threads, which send.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
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
STARVED = 5.0
"""Milliseconds of the bare p99."""
MAX_ADDED, MAX_LOOP, MAX_OTHERS = 1.0, 200.0, 25.0
"""Milliseconds added to the p99; microseconds of CPU time added to a message."""
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


@dataclass
class Load:
    """One phase: how long each message took in the steady part of it, and what all of them cost."""

    way: SimpleNamespace
    seconds: float
    rng: random.Random

    def __post_init__(self) -> None:
        self.taken: list[float] = []
        self.count = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self.steady_from, self.steady_to = loop.time() + LIFE, loop.time() + self.seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(self.seconds * STARTS_PER_SECOND)):
                start = self.steady_from - LIFE + number / STARTS_PER_SECOND
                await asyncio.sleep(start - loop.time())
                start += self.rng.uniform(0, INTERVAL)
                tasks.create_task(self._session(f"session-{number}", start))

    async def _session(self, session: str, start: float) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for number in range(round(LIFE / INTERVAL)):
                due = start + number * INTERVAL
                await asyncio.sleep(due - loop.time())
                tasks.create_task(self._message(session, due))

    async def _message(self, session: str, due: float) -> None:
        await message(self.way, session)
        self.count += 1
        if self.steady_from <= due < self.steady_to:
            self.taken.append(asyncio.get_running_loop().time() - due)


@dataclass(frozen=True)
class Phase:
    """What one process found: milliseconds of latency, microseconds of CPU time a message."""

    p50: float
    p99: float
    per_second: float
    loop: float
    others: float


def phase(endpoint: str, seconds: float, seed: int) -> Phase:
    """Run the load here: with the library where there is an *endpoint*."""
    if endpoint:
        latency.configure(service="bench", endpoint=endpoint)
    load = Load(OURS if endpoint else BARE, seconds, random.Random(seed))
    before, before_all = time.thread_time(), time.process_time()
    asyncio.run(load.run())
    loop, everything = time.thread_time() - before, time.process_time() - before_all
    ordered = sorted(load.taken)
    p50, p99 = (ordered[nearest_rank(q, len(ordered)) - 1] * 1e3 for q in (0.5, 0.99))
    return Phase(
        p50, p99, len(ordered) / (seconds - LIFE), loop / load.count * 1e6, (everything - loop) / load.count * 1e6
    )


def in_a_process(endpoint: str, seconds: float, seed: int, cores: set[int]) -> Phase:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sessions", "phase", endpoint, str(seconds), str(seed)],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    output, _ = process.communicate()
    assert process.returncode == 0
    return Phase(**json.loads(output))


def measure(arguments) -> Iterator[Figure]:
    cores = sorted(os.sched_getaffinity(0))
    ours: list[Phase] = []
    bare: list[Phase] = []
    with running_agent() as agent:
        os.sched_setaffinity(agent.pid, {cores[-1]})
        for number in range(arguments.rounds):
            ways = [(bare, ""), (ours, f"http://127.0.0.1:{agent.http_port}")]
            for found, endpoint in ways[:: 1 if number % 2 else -1]:
                found.append(in_a_process(endpoint, arguments.seconds, number, set(cores[:-1] or cores)))
    for name, phases in {"bare": bare, "ours": ours}.items():
        yield Figure(f"{name}: p50 of a message", median(each.p50 for each in phases), "ms")
        yield Figure(f"{name}: p99", median(each.p99 for each in phases), "ms")
    offered = STARTS_PER_SECOND * LIFE / INTERVAL
    yield Figure("messages a second", median(each.per_second for each in ours), "/s", detail=f"{offered:g} offered")
    yield added_p99(ours, bare)
    loop = min(each.loop for each in bare)
    added = min(each.loop for each in ours) - loop
    yield Figure("CPU time added to a message: the loop", added, "us", MAX_LOOP, f"{loop:.0f} us bare")
    yield Figure("... and other threads", min(each.others for each in ours), "us", MAX_OTHERS)


def added_p99(ours: list[Phase], bare: list[Phase]) -> Figure:
    added = [mine.p99 - theirs.p99 for mine, theirs in zip(ours, bare, strict=True)]
    detail = f"{min(added):.2f} to {max(added):.2f} ms in {len(added)} rounds"
    alone = median(each.p99 for each in bare)
    if alone > STARVED:
        return Figure(
            "added to the p99 of a message", median(added), "ms", None, f"no verdict, starved: bare {alone:.1f} ms"
        )
    return Figure("added to the p99 of a message", median(added), "ms", MAX_ADDED, detail)


if __name__ == "__main__":
    if sys.argv[1:2] == ["phase"]:
        print(json.dumps(asdict(phase(sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))))
    else:
        run(measure, __doc__, {"rounds": (5, "of each"), "seconds": (5.0, "of session starts in a round")})
