"""What timing a streamed chunk adds, for every shape of chunk, against OpenTelemetry's instrumentation of `openai`.

Reference: `opentelemetry-instrumentation-genai-openai` with tracer and meter providers of the SDK, in the same run.

Through the client: three streams of the same chat chunks come from memory through its real parser: bare, ours and the
reference's. They are read in turn, chunk by chunk, so that whatever else the machine does meets all three. A chunk's
cost is the wall time of asking for it and letting go of the one before. The figure is the median over all chunks and
rounds of the difference to the bare stream's chunk of the same place; each round has new clients.

Alone: whole streams of chunks that were made before, with and without our timing, everything included that a stream
costs once. The CPU time of this thread, least of all rounds with less least of all rounds without: what disturbs only
adds to it. No sentence ends in these streams unless the name says so, since looking for the first one is what costs.

The garbage collector is off while a stream is read. The bar is 2 us or 0.10 of the reference, whichever is less.
"""

from __future__ import annotations

import gc
import json
import math
import time
from contextlib import contextmanager
from statistics import median

import httpx2
from bench.report import Figure, run
from bench.stream_shapes import SHAPES, chat, openai
from openai import OpenAI
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.wrap import wrap

CHUNKS = 1_000
SENTENCE = ("The", " sky", " is", " blue", ".")
BAR_RATIO = 0.10
BAR_MICROSECONDS = 2.0


def body(words):
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    return b"".join(b"data: %s\n\n" % json.dumps(chat(**delta)).encode() for delta in deltas) + b"data: [DONE]\n\n"


def opened(client):
    """A stream after its first chunk: what a stream costs once is done."""
    stream = iter(client.chat.completions.create(model="m", messages=[], stream=True))
    next(stream)
    return stream


def new_client(content):
    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    transport = httpx2.MockTransport(answer)
    return OpenAI(api_key="none", base_url="http://localhost", http_client=httpx2.Client(transport=transport))


def instrumented(client, providers):
    """A stream of the reference, which patches the package: put in and taken out around the request."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=providers[0], meter_provider=providers[1])
    try:
        return opened(client)
    finally:
        instrumentor.uninstrument()


def in_turn(streams):
    """Nanoseconds for each chunk of each of *streams*."""
    taken = [[] for _ in streams]
    chunks = [None for _ in streams]
    clock = time.perf_counter_ns
    for start in range(CHUNKS - 10):
        for shift in range(len(streams)):
            index = (start + shift) % len(streams)
            before = clock()
            chunks[index] = next(streams[index])
            taken[index].append(clock() - before)
    return taken


def through_client(words, providers, rounds):
    """Added microseconds per chunk: ours and the reference's."""
    content = body(words)
    ways = (
        lambda: opened(new_client(content)),
        lambda: opened(wrap(new_client(content))),
        lambda: instrumented(new_client(content), providers),
    )
    added: tuple[list[int], list[int]] = ([], [])
    for turn in range(rounds):
        order = [(turn + shift) % len(ways) for shift in range(len(ways))]  # who comes first in memory is slower
        streams = [ways[index]() for index in order]
        with quiet():
            costs = in_turn(streams)
        base = costs[order.index(0)]
        for index, found in enumerate(added, start=1):
            found += [mine - bare for mine, bare in zip(costs[order.index(index)], base, strict=True)]
    return tuple(median(found) / 1e3 for found in added)


@contextmanager
def quiet():
    """No garbage collection within."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Alone:
    """Streams of chunks that were made before, without a client around them."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.least = [math.inf, math.inf]

    def once(self):
        for index, work in enumerate((self.plain, self.timed)):
            start = time.thread_time()
            work()
            self.least[index] = min(self.least[index], time.thread_time() - start)

    @property
    def added(self):
        """Microseconds per chunk."""
        return (self.least[1] - self.least[0]) / len(self.chunks) * 1e6

    def plain(self):
        for _ in iter(self.chunks):
            pass

    def timed(self):
        with llm_call("bench", provider="openai") as call:
            for _ in call.stream(iter(self.chunks)):
                pass


class AloneAsync(Alone):
    """The same for an async stream. Its steps are driven by hand: nothing in it waits."""

    def plain(self):
        _drive(self._read(lambda stream: stream))

    def timed(self):
        with llm_call("bench", provider="openai") as call:
            _drive(self._read(call.stream))

    async def _read(self, watch):
        async for _ in watch(self._source()):
            pass

    async def _source(self):
        for chunk in self.chunks:
            yield chunk


def _drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        return


def alone(rounds: int) -> dict[str, float]:
    """Added microseconds per chunk of each shape. All take their turn in every round: no shape meets a bad moment."""
    with_sentence = [*SENTENCE, *[" word"] * (CHUNKS - len(SENTENCE))]
    streams = {name: Alone([new_chunk() for _ in range(CHUNKS)]) for name, new_chunk in SHAPES.items()}
    streams["openai: text, a sentence ends early"] = Alone([openai(chat(content=word)) for word in with_sentence])
    streams["openai: text, async"] = AloneAsync([SHAPES["openai: text"]() for _ in range(CHUNKS)])
    with quiet():
        for _ in range(rounds):
            for stream in streams.values():
                stream.once()
    return {name: stream.added for name, stream in streams.items()}


def measure(arguments):
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    runtime.tracer = tracers.get_tracer("bench")
    providers = (tracers, MeterProvider([InMemoryMetricReader()]))
    rounds = int(arguments.rounds)
    added = {
        "a sentence ends early": through_client([*SENTENCE, *[" word"] * CHUNKS][:CHUNKS], providers, rounds),
        "no sentence ends": through_client([" word"] * CHUNKS, providers, rounds),
    }
    reference = min(theirs for _, theirs in added.values())
    yield Figure("reference: opentelemetry genai-openai, a chunk", reference, "us")
    bar = min(BAR_MICROSECONDS, BAR_RATIO * reference)
    for name, (ours, _) in added.items():
        yield _figure(f"through the client: {name}", ours, reference, bar)
    for name, ours in alone(3 * rounds).items():
        yield _figure(name, ours, reference, bar)


def _figure(name: str, ours: float, reference: float, bar: float) -> Figure:
    return Figure(name, ours, "us", bar, f"{ours / reference:.3f} of the reference")


if __name__ == "__main__":
    run(measure, __doc__, {"rounds": (15, "rounds of each")})
