"""OTLP trace requests as an application full of GenAI calls sends them, at the cost of patching a buffer.

A `Batch` is encoded once; `fresh` gives its spans new ids and times, so that no two requests hold the same span.
With the defaults a request is 512 spans of 12 attributes: 300 kB, 24 kinds of stage.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from itertools import count
from struct import Struct

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_ID = Struct("<Q")
_TIMES = Struct("<QBQ")
_END_TAG = 0x41
_RESOURCE = {
    "service.name": "rag-api",
    "service.version": "1.4.2",
    "service.instance.id": "3f1c9a52-11aa-4c0f-9b0e-2d5f0d0a7a10",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1.45.2",
}
_STAGES = ("retrieve", "rerank", "prompt", "llm", "guardrail", "tool")
_OPERATIONS = ("chat", "embeddings", "execute_tool", "text_completion")
_MODELS = (
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "api.openai.com"),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "api.anthropic.com"),
    (
        "aws.bedrock",
        "meta.llama3-70b-instruct",
        "meta.llama3-70b-instruct-v1:0",
        "bedrock-runtime.us-east-1.amazonaws.com",
    ),
    ("gcp.vertex_ai", "gemini-2.0-flash", "gemini-2.0-flash-001", "us-central1-aiplatform.googleapis.com"),
)


class Batch:
    """A request whose spans can be renewed; *fill* writes name and attributes of each span."""

    def __init__(
        self, seed: int = 1, spans: int = 512, fill: Callable[[Span, random.Random], None] | None = None
    ) -> None:
        rng = random.Random(seed)
        request = ExportTraceServiceRequest()
        origin = request.resource_spans.add()
        origin.resource.attributes.extend(_attribute(key, value) for key, value in _RESOURCE.items())
        scoped = origin.scope_spans.add()
        scoped.scope.name, scoped.scope.version = "openinference.instrumentation", "0.1.0"
        for _ in range(spans):
            _write_span(scoped.spans.add(), rng, fill or write_call)
        self.count = spans
        self._body = bytearray(request.SerializeToString())
        self._places = list(_places(self._body, scoped.spans))
        self._ids = count(rng.getrandbits(63))
        self._lags = [rng.random() for _ in range(spans)]

    def fresh(self, now_ns: int, *, within_ns: int = 250_000_000) -> bytes:
        """The request with new ids, its spans ended at random moments of the last *within_ns*."""
        body, ids = self._body, self._ids
        for (id_at, times_at, duration), lag in zip(self._places, self._lags, strict=True):
            end = now_ns - int(lag * within_ns)
            _ID.pack_into(body, id_at, next(ids))
            _TIMES.pack_into(body, times_at, end - duration, _END_TAG, end)
        return bytes(body)


def unique_name(span: Span, rng: random.Random) -> None:
    """For `Batch`: names of letters only, so that no template brings them together."""
    span.name = "".join(rng.choices(string.ascii_lowercase, k=12))


def _places(body: bytearray, spans: Iterator[Span]) -> Iterator[tuple[int, int, int]]:
    """Where each span's id and times stand in *body*, and how long it took."""
    position = 0
    for span in spans:
        id_at = body.index(span.span_id, position)
        position = body.index(_TIMES.pack(span.start_time_unix_nano, _END_TAG, span.end_time_unix_nano), id_at)
        yield id_at, position, span.end_time_unix_nano - span.start_time_unix_nano


def _write_span(span: Span, rng: random.Random, fill: Callable[[Span, random.Random], None]) -> None:
    span.trace_id, span.span_id, span.parent_span_id = rng.randbytes(16), rng.randbytes(8), rng.randbytes(8)
    span.kind, span.flags = Span.SPAN_KIND_CLIENT, 0x100
    span.start_time_unix_nano = 1_760_000_000_000_000_000 + rng.randrange(10**9)
    span.end_time_unix_nano = span.start_time_unix_nano + int(rng.lognormvariate(19.8, 0.9))
    fill(span, rng)


def write_call(span: Span, rng: random.Random) -> None:
    """One call in fifty failed."""
    provider, model, answered_by, host = rng.choice(_MODELS)
    operation = rng.choice(_OPERATIONS)
    span.name = f"{operation} {model}"
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.response.model": answered_by,
        "gen_ai.response.id": "chatcmpl-" + rng.randbytes(12).hex(),
        "gen_ai.usage.input_tokens": rng.randrange(20, 8000),
        "gen_ai.usage.output_tokens": rng.randrange(1, 2000),
        "gen_ai.request.temperature": 0.7,
        "gen_ai.response.finish_reasons": ["stop"],
        "server.address": host,
        "server.port": 443,
        "pipeline.stage": rng.choice(_STAGES),
    }
    span.attributes.extend(_attribute(key, value) for key, value in attributes.items())
    if rng.random() < 0.02:
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, "rate limited"


def _attribute(key: str, value: str | float | list[str]) -> KeyValue:
    match value:
        case str():
            any_value = AnyValue(string_value=value)
        case int():
            any_value = AnyValue(int_value=value)
        case float():
            any_value = AnyValue(double_value=value)
        case list():
            any_value = AnyValue()
            any_value.array_value.values.extend(AnyValue(string_value=text) for text in value)
    return KeyValue(key=key, value=any_value)
