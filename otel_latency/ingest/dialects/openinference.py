"""OpenInference (Arize Phoenix): its own words throughout; the first chunk is a span event."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, number

OPENINFERENCE = Dialect(
    name="openinference",
    seen="openinference-instrumentation-openai 0.1.66",
    scopes=("openinference",),
    sources={
        "llm.token_count.prompt": number("input_tokens"),
        "llm.token_count.completion": number("output_tokens"),
        "llm.token_count.prompt_details.cache_read": number("cache_read_tokens"),
        "llm.token_count.prompt_details.cache_write": number("cache_write_tokens"),
        "llm.token_count.completion_details.reasoning": number("reasoning_tokens"),
        "llm.token_count.prompt_details.audio": number("audio_input_tokens"),
        "llm.token_count.completion_details.audio": number("audio_output_tokens"),
        "llm.cost.total": number("cost_usd"),
    },
    events={"First Token Stream Event": "ttfc"},  # the first chunk, whatever it holds
    operations={
        "openinference.span.kind": {
            "LLM": "chat",
            "EMBEDDING": "embeddings",
            "RETRIEVER": "retrieval",
            "RERANKER": "rerank",
            "TOOL": "execute_tool",
            "AGENT": "invoke_agent",
        }
    },
    providers=("llm.provider", "llm.system"),
    models=("llm.model_name", "embedding.model_name"),
)
