"""What timing a streamed chunk adds to the bare `openai` client, against OpenTelemetry's own instrumentation of it.

Reference: `opentelemetry-instrumentation-genai-openai` with tracer and meter providers of the SDK. Three streams of the
same chat chunks come from memory through the client's real parser: bare, ours and the reference's. They are read in
turn, chunk by chunk, so that whatever else the machine does meets all three; what counts is the difference of the
medians, and of that the mean over rounds with new clients each. What only runs once a stream is measured a second
way: whole streams of chunks that were parsed before, with and without our timing. The worse of the two must hold.

python -m tests.bench instrument_stream
"""

from __future__ import annotations

import gc
import json
import sys
import time
from statistics import mean, median

import httpx2
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
ROUNDS = 15
BAR_RATIO = 0.10
BAR_MICROSECONDS = 2.0


def body():
    """Words with a full stop in the middle: the first sentence is found, and nothing is looked for after it."""
    words = ["The", " sky", " is", " blue", "."] + [" word"] * (CHUNKS - 5)
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"".join(b"data: %s\n\n" % json.dumps(frame | chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def new_client(content):
    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    transport = httpx2.MockTransport(answer)
    return OpenAI(api_key="none", base_url="http://localhost", http_client=httpx2.Client(transport=transport))


def opened(client):
    """A stream after its first chunk: what a stream costs once is done."""
    stream = iter(client.chat.completions.create(model="m", messages=[], stream=True))
    next(stream)
    return stream


def instrumented(client, providers):
    """A stream of the reference, which patches the package: put in and taken out around the request."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=providers[0], meter_provider=providers[1])
    try:
        return opened(client)
    finally:
        instrumentor.uninstrument()


def in_turn(streams):
    """Median nanoseconds for a chunk of each of *streams*."""
    taken = [[] for _ in streams]
    chunks = [None for _ in streams]  # held while the next one is read, as a loop's variable does
    for start in range(CHUNKS - 10):
        for shift in range(len(streams)):
            index = (start + shift) % len(streams)
            before = time.perf_counter_ns()
            chunk = next(streams[index])
            taken[index].append(time.perf_counter_ns() - before)
            chunks[index] = chunk
    return [median(each) for each in taken]


def through_client(providers):
    """Added microseconds per chunk: ours and the reference's."""
    content = body()
    ways = [
        lambda: opened(new_client(content)),
        lambda: opened(wrap(new_client(content))),
        lambda: instrumented(new_client(content), providers),
    ]
    added = []
    for turn in range(ROUNDS):
        gc.collect()
        order = [(turn + shift) % len(ways) for shift in range(len(ways))]  # who comes first in memory is slower
        costs = in_turn([ways[index]() for index in order])
        base, ours, reference = (costs[order.index(index)] for index in range(len(ways)))
        added.append((ours - base, reference - base))
    return tuple(mean(each) / 1e3 for each in zip(*added, strict=True))


def cpu_seconds(work):
    gc.collect()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def alone():
    """Added microseconds per chunk, without the parser beside it."""
    chunks = list(new_client(body()).chat.completions.create(model="m", messages=[], stream=True))

    def plain():
        for _ in iter(chunks):
            pass

    def timed():
        with llm_call("bench", provider="openai") as call:
            for _ in call.stream(iter(chunks)):
                pass

    added = (min(cpu_seconds(work) for _ in range(ROUNDS)) for work in (timed, plain))
    return (next(added) - next(added)) / CHUNKS * 1e6


def main():
    exporter = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    runtime.tracer = tracers.get_tracer("bench")
    ours, reference = through_client((tracers, MeterProvider([InMemoryMetricReader()])))
    by_itself = alone()
    worse = max(ours, by_itself)
    print(f"opentelemetry genai-openai     {reference:8.2f} us/chunk   1.00")
    print(f"ours, through the client       {ours:8.2f} us/chunk   {ours / reference:.3f}")
    print(f"ours, alone                    {by_itself:8.2f} us/chunk   {by_itself / reference:.3f}")
    is_held = worse <= BAR_MICROSECONDS and worse / reference <= BAR_RATIO
    print(f"{'PASS' if is_held else 'FAIL'}: bars are {BAR_MICROSECONDS} us and {BAR_RATIO} of the reference")
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
