"""OpenLLMetry (traceloop-sdk): GenAI names, one event per chunk, and the names it had before there was a convention."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, number, text

OPENLLMETRY = Dialect(
    name="openllmetry",
    seen="opentelemetry-instrumentation-openai 0.62.4",
    scopes=("traceloop",),
    sources={
        "llm.usage.prompt_tokens": number("input_tokens"),
        "llm.usage.completion_tokens": number("output_tokens"),
        "llm.usage.cache_read_input_tokens": number("cache_read_tokens"),
        "llm.usage.cache_creation_input_tokens": number("cache_write_tokens"),
        "llm.usage.reasoning_tokens": number("reasoning_tokens"),
        "traceloop.association.properties.session_id": text("session"),
    },
    events={"gen_ai.content.completion.chunk": "ttfc", "llm.content.completion.chunk": "ttfc"},
    operations={
        "llm.request.type": {"completion": "text_completion", "embedding": "embeddings"},
        "traceloop.span.kind": {"workflow": "invoke_workflow", "agent": "invoke_agent", "tool": "execute_tool"},
    },
    models=("llm.request.model", "llm.response.model"),
)
