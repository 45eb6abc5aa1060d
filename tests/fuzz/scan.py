"""Damaged requests for the compiled parts, under AddressSanitizer: `make fuzz` (SECONDS=60).

The requests start out valid, are damaged at random, and must be scanned, refused, counted and rid of content without a
report of the sanitizers; what stays without content has to be what the redactor in Python leaves. The seed is printed;
`--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from array import array

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_latency import _native, semconv
from otel_latency.errors import DecodeError
from otel_latency.forward.content import denied
from otel_latency.forward.redact import PythonRedactor, Redactor, redactor
from otel_latency.ingest.otlp_traces import TraceDecoder
from otel_latency.records import Signal
from tests.ingest.test_otlp_traces import golden_requests
from tests.ingest.test_scanner import request, with_events


def damaged(body: bytes, source: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(source.randrange(1, 8)):
        at = source.randrange(len(data) + 1)
        match source.randrange(5):
            case 0 if at < len(data):
                data[at] = source.choice([0, 1, 0x0A, 0x12, 0x4A, 0x7F, 0x80, 0xFF, source.randrange(256)])
            case 1:
                del data[at : at + source.randrange(1, 9)]
            case 2:
                data[at:at] = data[at : at + source.randrange(1, 200)]
            case 3:
                data[at:at] = bytes([0xFF]) * source.randrange(1, 12)
            case _:
                del data[at + source.randrange(1, 400) :]
    return bytes(data)


def detailed() -> bytes:
    """A span with all that is looked at in events and links."""
    one = with_events(
        ("first_token", 0.25, {}),
        ("prompt_built", 0.5, {"tokens": 512}),
        ("sentence", 0.5, {f"{semconv.SENTENCE}.index": 0, f"{semconv.SENTENCE}.arrived": 0.5}),
        ("exception", 0.75, {"exception.type": "ValueError"}),
    )
    link = one.links.add(trace_id=one.trace_id, span_id=b"producer")
    link.attributes.add(key=semconv.AFTER).value.string_value = "first_sentence"
    return one.SerializeToString()


def one_span(body: bytes) -> bytes:
    return ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0].SerializeToString()


def count(rows: list, source: random.Random) -> None:
    piles = _native.Piles(source.choice([1, 250_000_000]), {"ttft": None})
    for start in range(0, len(rows), 7):
        piles.add(rows[start : start + 7])
    for _, _, durations, _, _ in piles.take():
        if durations is None:
            continue
        values, quanta = durations[:2]
        _native.split(values, quanta)
        _native.count_buckets(values)
        _native.count_bounds(values, array("d", sorted(source.sample(range(50), 9))), array("q", [0] * 10))


def without_content(redactor: Redactor, body: bytes) -> bytes | None:
    try:
        return redactor.redact(body, Signal.TRACES)
    except ValueError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFF_FFFF)
    arguments = parser.parse_args()
    source = random.Random(arguments.seed)
    corpus = [body for body, _ in golden_requests()]
    spans = [one_span(body) for body in corpus]
    spans += [detailed()] * (len(spans) // 4)
    print(f"{_native.__file__}: seed {arguments.seed}", flush=True)
    decoder, rows = TraceDecoder(), []
    names = denied(["gen_ai.request.model", "server.*", "p*"])
    compiled, readable = redactor(names), PythonRedactor(names)
    assert type(compiled) is not type(readable), "the redactor was not compiled"
    requests = refused = size = 0
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        if source.random() < 0.2:
            body = damaged(source.choice(corpus), source)
        else:  # the envelopes stay whole, so that the damage reaches the span
            body = request(*(damaged(source.choice(spans), source) for _ in range(source.randrange(1, 6))))
        requests, size = requests + 1, size + len(body)
        try:
            rows += decoder.decode(body, is_json=False)[0]
        except DecodeError:
            refused += 1
        kept = without_content(compiled, body)
        if source.random() < 0.05:
            assert kept == without_content(readable, body), f"request {requests} is rid of something else in Python"
        if len(rows) > 500:
            count(rows, source)
            rows.clear()
        if requests % 50_000 == 0:
            decoder = TraceDecoder()
            gc.collect()
    print(f"{requests} requests, {size} bytes, {refused} refused whole, no fault found")


if __name__ == "__main__":
    main()
