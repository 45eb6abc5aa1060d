"""Pydantic Logfire and Pydantic AI.

Logfire's model clients end the span of a streamed call when the stream opens. What came of it follows as a log line
sent as a span of no length, with `duration` and the usage: that one is the call.
"""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, json, number, seconds

_REQUEST = SpanRule(finished_by="gen_ai.response.finish_reasons", since=5)

LOGFIRE = Dialect(
    name="logfire",
    seen="logfire 5.2.0, pydantic-ai 2.68.0",
    scopes=("logfire", "pydantic-ai"),
    sources={
        "operation.cost": number("cost_usd"),
        "gen_ai.usage.details.cache_read_tokens": number("cache_read_tokens"),
        "gen_ai.usage.details.cache_write_tokens": number("cache_write_tokens"),
        "gen_ai.usage.details.reasoning_tokens": number("reasoning_tokens"),
        "gen_ai.usage.raw": json(
            {
                "prompt_tokens_details.cached_tokens": "cache_read_tokens",
                "input_tokens_details.cached_tokens": "cache_read_tokens",
                "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
                "output_tokens_details.reasoning_tokens": "reasoning_tokens",
            }
        ),
    },
    scoped={"duration": seconds("duration")},
    empty={"logfire.span_type": frozenset({"pending_span"})},
    moments={"logfire.span_type": frozenset({"log"})},
    spans={
        "Chat Completion with {request_data[model]!r}": _REQUEST,
        "Completion with {request_data[model]!r}": _REQUEST,
    },
)
