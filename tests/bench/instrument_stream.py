"""What timing a streamed chunk adds to the bare `openai` client, against OpenTelemetry's own instrumentation of it.

Reference: `opentelemetry-instrumentation-genai-openai` with tracer and meter providers of the SDK. Each round streams
the same 1,000 chunks of chat completions three ways in turn, from memory through the client's real parser, and takes
the thread's CPU time; what counts is the median difference to the bare client of the same round. Parsing a chunk costs
fifty times what is measured here; so our cost is taken a second time, alone: chunks that the client has parsed before,
with and without our timing. The worse of the two must hold.

python -m tests.bench instrument_stream
"""

from __future__ import annotations

import gc
import json
import sys
import time
from statistics import median

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
ROUNDS = 40
BAR_RATIO = 0.10
BAR_MICROSECONDS = 2.0


def body():
    """Words with a full stop in the middle: the first sentence is found, and nothing is looked for after it."""
    words = ["The", " sky", " is", " blue", "."] + [" word"] * (CHUNKS - 5)
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"".join(b"data: %s\n\n" % json.dumps(frame | chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def new_client(content):
    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    transport = httpx2.MockTransport(answer)
    return OpenAI(api_key="none", base_url="http://localhost", http_client=httpx2.Client(transport=transport))


def cpu_seconds(work):
    gc.collect()
    start = time.thread_time()
    work()
    return time.thread_time() - start


def read(client):
    for _ in client.chat.completions.create(model="m", messages=[], stream=True):
        pass


def instrumented(client, providers):
    """The reference patches the package, so it is put in and taken out around its turn, outside the measured part."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=providers[0], meter_provider=providers[1])
    try:
        return cpu_seconds(lambda: read(client))
    finally:
        instrumentor.uninstrument()


def through_client(providers):
    """Added microseconds per chunk: ours and the reference's."""
    content = body()
    bare, ours = new_client(content), wrap(new_client(content))
    added = []
    for _ in range(ROUNDS):
        base, with_ours = cpu_seconds(lambda: read(bare)), cpu_seconds(lambda: read(ours))
        added.append((with_ours - base, instrumented(bare, providers) - base))
    return tuple(median(each) / CHUNKS * 1e6 for each in zip(*added, strict=True))


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
