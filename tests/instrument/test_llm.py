"""An LLM call's span: OpenTelemetry's names, and ours for what has none."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.turn import turn


def test_span_of_a_call(spans):
    """It is a client span, named by operation and model."""
    with llm_call("draft_reply", provider="openai", model="gpt-4o", input_tokens=500, timeout=15.0, tier="flex"):
        pass
    (span,) = spans
    assert ("chat gpt-4o", SpanKind.CLIENT) == (span.name, span.kind)
    assert {
        "otel_latency.stage": "llm",
        "otel_latency.task": "draft_reply",
        "otel_latency.timeout": 15.0,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 500,
        "tier": "flex",
    } == dict(span.attributes)


def test_model_unknown(spans):
    """Without a model the operation is the name."""
    with llm_call("embed", provider="ollama", operation="embeddings"):
        pass
    assert "embeddings" == spans[0].name


def test_usage(spans):
    """What was billed replaces what was expected; what is not known is not written."""
    with llm_call("draft", provider="openai", input_tokens=500) as call:
        call.usage(input_tokens=512, output_tokens=90, cache_read_tokens=128, reasoning_tokens=10, cost_usd=0.002)
        call.usage(output_tokens=None)
    assert {"input_tokens": 512, "output_tokens": 90, "cache_read_tokens": 128, "reasoning_tokens": 10} == {
        key: value for key, value in call.tokens.items() if key != "cost_usd"
    }
    assert {
        "gen_ai.usage.input_tokens": 512,
        "gen_ai.usage.output_tokens": 90,
        "gen_ai.usage.cache_read.input_tokens": 128,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "gen_ai.usage.cost.amount": 0.002,
        "gen_ai.usage.cost.currency": "USD",
    } == {key: value for key, value in spans[0].attributes.items() if key.startswith("gen_ai.usage")}


def test_each_call_counts_its_own_tokens(spans):
    """A decorated function's calls share no usage."""
    counts = []

    @llm_call("draft", provider="openai", input_tokens=500)
    def draft():
        return None

    draft()
    again = llm_call("draft", provider="openai", input_tokens=500)
    with again as first:
        first.usage(output_tokens=1)
    with again as second:
        counts.append(dict(second.tokens))
    assert [{"input_tokens": 500}] == counts


def test_first_chunk_has_opentelemetrys_name_too(spans):
    """The convention's name is written beside ours; the first token has none of its own."""
    with turn("answer"), llm_call("draft", provider="openai") as call:
        call.milestone("first_chunk", at=call.start_monotonic_ns + 20_000_000)
        call.milestone("first_token", at=call.start_monotonic_ns + 220_000_000)
    span = spans[0]
    assert 0.02 == span.attributes["gen_ai.response.time_to_first_chunk"]
    assert 0.02 == span.attributes["otel_latency.time_to_first_chunk"]
    assert 0.22 == span.attributes["otel_latency.time_to_first_token"]


def test_stream_yields_the_same(spans):
    """A stream passes through unchanged, and marks the call as streamed."""
    chunks = ["Hello", " world."]
    with llm_call("draft", provider="ollama") as call:
        assert all(got is sent for got, sent in zip(call.stream(iter(chunks)), chunks, strict=True))
    assert True is spans[0].attributes["gen_ai.request.stream"]


def test_current_without_a_provider():
    """Callers without a provider still find their call's numbers."""
    with llm_call("draft", provider="openai") as call:
        call.usage(output_tokens=3)
        call.milestone("first_token", at=call.start_monotonic_ns + 1)
    assert {"output_tokens": 3} == call.tokens
    assert {"first_token": call.start_monotonic_ns + 1} == call.milestones
