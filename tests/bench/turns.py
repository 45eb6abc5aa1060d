"""What turns cost beyond ingest: spans put together, every turn's gates walked, its session kept, its values counted.

Traces of a voice pipeline (a turn of five stages with the milestones that our library sends), single calls outside of
any turn, spans of an agent that never sends a root, and one session-long trace; each as rows, in the batches and with
the ticks of an agent under 2,000 spans a second; young objects are looked at by the collector as seldom as there.
Then how long a tick holds everything else up, under that load and when 8,000 spans come at once; how long taking a
request does in the first second of a flood; and what deciding by trace id costs. Times are CPU times of this thread.
Memory is what Python holds for the rows as well, at the most.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
from bench.report import Figure, run
from traces import random_pipeline, span_id

from otel_latency.aggregate.aggregator import Aggregator
from otel_latency.aggregate.path import of
from otel_latency.aggregate.sessions import Sessions
from otel_latency.aggregate.stages import build
from otel_latency.aggregate.turn_sampling import TraceSampling
from otel_latency.aggregate.turn_view import observations, turn_json
from otel_latency.aggregate.turns import TurnAssembler
from otel_latency.records import LLMProfile, Profile, SpanRow

RATE = 2_000
TICK = 0.25
BURST = 8_000
FLOOD_RATE, FLOOD_BATCH = 300_000, 4_096
BAR_US = 10.0
BAR_MS = 25.0
FASTER = 0.37
START_NS = 1_795_260_000_000_000_000

CALL = LLMProfile(provider="openai", model="gpt-4o", task="draft_reply", operation="chat")
TURN, LONE = Profile("bot", "", "answer"), Profile("bot", "llm", "llm", llm=CALL)
STAGES = {name: Profile("bot", name) for name in ("endpointing", "stt", "retrieval", "tts")}
LLM = Profile("bot", "llm", llm=CALL)

Trace = Callable[[random.Random, int], list[SpanRow]]


def voice(rng: random.Random, number: int) -> list[SpanRow]:
    """A turn of five stages, children first as they end."""
    trace, ids = rng.randbytes(16), [rng.randbytes(8) for _ in range(6)]
    start = START_NS + number * 1_000_000
    ms = 1_000_000
    said = {"input_tokens": 512, "output_tokens": 90, "tpot": 0.012, "ttfc": 0.2, "ttft": 0.45, "ttfs": 0.6}
    after = msgspec.json.encode([(ids[4].hex(), "first_sentence")]).decode()
    turn = {"ttft": 1.1, "ttfs": 1.25, "ttfa": 1.4, "session": f"s{number % 50}", "request_id": trace.hex()}
    return [
        (STAGES["endpointing"], trace, ids[1], ids[0], start, start + 200 * ms, None),
        (STAGES["stt"], trace, ids[2], ids[0], start + 200 * ms, start + 350 * ms, None),
        (STAGES["retrieval"], trace, ids[3], ids[0], start + 350 * ms, start + 640 * ms, None),
        (LLM, trace, ids[4], ids[0], start + 650 * ms, start + 2_200 * ms, said),
        (STAGES["tts"], trace, ids[5], ids[0], start + 1_250 * ms, start + 2_890 * ms, {"ttfa": 0.15, "after": after}),
        (TURN, trace, ids[0], b"", start, start + 2_900 * ms, turn),
    ]


def lone(rng: random.Random, number: int) -> list[SpanRow]:
    """A call outside of any turn, which is a turn of its own."""
    start = START_NS + number * 1_000_000
    said = {"input_tokens": 512, "output_tokens": 90, "ttfc": 0.2, "ttft": 0.45}
    return [(LONE, rng.randbytes(16), rng.randbytes(8), b"", start, start + 10**9, said)]


def rootless(rng: random.Random, number: int) -> list[SpanRow]:
    """A call whose parent is never sent."""
    start = START_NS + number * 1_000_000
    return [(LLM, rng.randbytes(16), rng.randbytes(8), rng.randbytes(8), start, start + 10**9, {"ttft": 0.45})]


def conversation(rng: random.Random, number: int) -> list[SpanRow]:
    """A turn of one endless trace."""
    session = bytes(range(8))
    return [
        (profile, bytes(range(16)), span, parent or session, start, end, said)
        for profile, _, span, parent, start, end, said in voice(rng, number * 3_000)
    ]


class Pipeline:
    """All that happens to rows behind ingest, with the agent's ticks."""

    def __init__(self) -> None:
        self.assembler = TurnAssembler()
        self.sessions = Sessions()
        self.aggregator = Aggregator()
        self.now = 0.0
        self.turns = 0
        self.most_bytes = 0
        self.longest_close = self.longest_tick = 0.0

    def take(self, rows: list[SpanRow]) -> None:
        self.assembler.add(rows, self.now)
        self.now += TICK
        begun = time.thread_time()
        closed = self.assembler.close(self.now)
        closing = time.thread_time() - begun
        self._finish(closed.final)
        self.longest_close = max(self.longest_close, closing)
        self.longest_tick = max(self.longest_tick, time.thread_time() - begun)
        self.most_bytes = max(self.most_bytes, self.assembler.size_bytes)

    def flush(self) -> None:
        self._finish(self.assembler.flush().final)

    def _finish(self, turns) -> None:
        self.turns += len(turns)
        for turn in turns:
            self.sessions.add(turn, self.now)
        self.aggregator.observe(one for turn in turns for one in observations(turn))
        self.aggregator.fold(START_NS / 1e9 + self.now)


def batches(trace: Trace, operations: int, size: int = round(RATE * TICK)) -> Iterator[list[SpanRow]]:
    rng, rows = random.Random(1), []
    number = made = 0
    while made < operations:
        new = trace(rng, number)
        number += 1
        made += len(new)
        rows += new
        while len(rows) >= size:
            yield rows[:size]
            rows = rows[size:]
    yield rows


def cost(trace: Trace, operations: int) -> tuple[float, Pipeline]:
    """CPU microseconds per span."""
    pipeline, spent, spans = Pipeline(), 0.0, 0
    for rows in batches(trace, operations):
        spans += len(rows)
        begun = time.thread_time()
        pipeline.take(rows)
        spent += time.thread_time() - begun
    begun = time.thread_time()
    pipeline.flush()
    spent += time.thread_time() - begun
    return spent / spans * 1e6, pipeline


def burst() -> Pipeline:
    """All at once, and then ticks until all of it is final."""
    pipeline = Pipeline()
    (rows, *_) = batches(voice, BURST, BURST)
    for _ in range(round(10 / TICK)):
        pipeline.take(rows)
        rows = []
    return pipeline


def deciding(max_rate: float) -> float:
    """Microseconds a span for keeping or leaving it out."""
    sampling, spent, spans = TraceSampling(held=TurnAssembler(), max_rate=max_rate), 0.0, 0
    now = 0.0
    for rows in batches(voice, 100_000):
        begun = time.thread_time()
        sampling.kept(rows, now)
        spent += time.thread_time() - begun
        spans += len(rows)
        now += TICK
        sampling.tick(now)
    return spent / spans * 1e6


def flood(trace: Trace) -> tuple[float, int, Counter[str]]:
    """A second of it, from idle: the longest `add` in seconds, the spans kept, and those dropped."""
    assembler = TurnAssembler()
    sampling, now, next_tick, longest, kept = TraceSampling(held=assembler), 0.0, TICK, 0.0, 0
    for rows in batches(trace, FLOOD_RATE, FLOOD_BATCH):
        taken = sampling.kept(rows, now)
        kept += len(taken)
        begun = time.thread_time()
        assembler.add(taken, now)
        longest = max(longest, time.thread_time() - begun)
        now += FLOOD_BATCH / FLOOD_RATE
        if now >= next_tick:
            sampling.tick(now)
            assembler.close(now)
            next_tick += TICK
    return longest, kept, assembler.dropped


def memory(operations: int) -> tuple[float, float]:
    """MiB held at the most, and at the end without what is still wanted."""
    gc.collect()
    tracemalloc.start()
    pipeline = Pipeline()
    for rows in batches(voice, operations):
        pipeline.take(rows)
    most = tracemalloc.get_traced_memory()[1]
    pipeline.flush()
    gc.collect()
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return most / 2**20, left / 2**20


def wrong(pipelines: int) -> tuple[int, int]:
    """Of as many random pipelines: paths that do not sum to the interval, and gains that a simulation contradicts."""
    rng, sums, gains = random.Random(1), 0, 0
    for _ in range(pipelines):
        pipeline = random_pipeline(rng)
        rows = pipeline.rows()
        rng.shuffle(rows)
        assembler = TurnAssembler()
        for row in rows:
            assembler.add([row], 0.0)
        (turn,) = assembler.flush().final
        graph = of(turn)
        at = {stage.span_id: index for index, stage in enumerate(turn.stages)}
        reached = {(node.stage, node.name): number for number, node in enumerate(graph.nodes)}
        sink = reached[at[span_id(pipeline.sink[0] + 2)], pipeline.sink[1]]
        lengths = [sum(tile.length_ns for tile in graph.walk(node)) for node in (sink, graph.end)]
        sums += lengths != [pipeline.reached_ns, turn.end_ns - turn.start_ns]
        for number in range(len(pipeline.steps)):
            gained = pipeline.reached_ns - pipeline.faster(number, FASTER).reached_ns
            gains += graph.gain(sink, [at[span_id(number + 2)]], faster=FASTER) != gained
    return sums, gains


def measure(arguments: argparse.Namespace) -> Iterator[Figure]:
    sums, gains = wrong(arguments.pipelines)
    yield Figure("random pipelines whose path does not sum", sums, bar=0)
    yield Figure("gains predicted otherwise than simulated", gains, bar=0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    kinds = {
        "voice turns": voice,
        "single calls": lone,
        "spans without a root": rootless,
        "an endless trace": conversation,
    }
    for name, trace in kinds.items():
        operations = arguments.operations if trace is voice else arguments.operations // 10
        spent, pipeline = cost(trace, operations)
        detail = f"{pipeline.turns} turns, at most {pipeline.most_bytes / 2**20:.1f} MiB by its own estimate"
        yield Figure(f"{name}, per span", spent, "us", BAR_US, detail)
        if trace is voice:
            detail = f"{pipeline.longest_tick * 1e3:.1f} ms with all that follows"
            yield Figure("its longest close", pipeline.longest_close * 1e3, "ms", BAR_MS, detail)
    pipeline = burst()
    detail = f"{pipeline.longest_tick * 1e3:.1f} ms with all that follows; {pipeline.turns} turns"
    yield Figure(f"the longest close after {BURST:,} spans at once", pipeline.longest_close * 1e3, "ms", BAR_MS, detail)
    longest, kept, dropped = flood(voice)
    detail = f"{kept} kept, {dropped.total()} of them dropped"
    yield Figure(f"the longest add of {FLOOD_BATCH:,} at 300,000/s", longest * 1e3, "ms", 2 * BAR_MS, detail)
    yield Figure("deciding by trace, nothing left out, per span", deciding(2 * RATE), "us", 0.1)
    yield Figure("deciding by trace, most left out, per span", deciding(RATE / 20), "us", 0.25)
    most, left = memory(arguments.operations // 10)
    yield Figure("memory at the most", most, "MiB", 40.0)
    yield Figure("memory after the last turn", left, "MiB", 8.0, "finished traces and sessions remembered")
    turn = build((rows := voice(random.Random(2), 1))[-1], rows)
    rounds = 2_000
    begun = time.thread_time()
    for _ in range(rounds):
        graph = of(turn)
        graph.walk(graph.end)
    yield Figure("graph and path of a turn of five stages", (time.thread_time() - begun) / rounds * 1e6, "us")
    begun = time.thread_time()
    for _ in range(rounds):
        turn_json(turn)
    yield Figure("its JSON, with the verdict", (time.thread_time() - begun) / rounds * 1e6, "us")
    yield Figure("resident", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


if __name__ == "__main__":
    run(
        measure,
        __doc__,
        {
            "operations": (1_000_000, "spans of voice turns; a tenth of the other kinds"),
            "pipelines": (10_000, "random pipelines with known gates, their spans shuffled"),
        },
    )
