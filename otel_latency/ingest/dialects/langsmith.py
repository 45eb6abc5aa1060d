"""LangSmith's OpenTelemetry export: runs whose GenAI names are guesses, so its own are asked first."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, json, text

LANGSMITH = Dialect(
    name="langsmith",
    seen="langsmith 0.15.0, OTel export",
    scopes=("langsmith",),
    sources={
        "langsmith.metadata.usage_metadata": json(
            {
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "input_token_details.cache_read": "cache_read_tokens",
                "input_token_details.cache_creation": "cache_write_tokens",
                "input_token_details.audio": "audio_input_tokens",
                "output_token_details.reasoning": "reasoning_tokens",
                "output_token_details.audio": "audio_output_tokens",
                "total_cost": "cost_usd",
            }
        ),
        "langsmith.metadata.session_id": text("session"),
        "langsmith.metadata.thread_id": text("session"),
    },
    events={"new_token": "ttft"},
    # A retriever's run arrives as the operation "embeddings", a failed OpenAI call as the provider "langchain".
    operations={
        "langsmith.span.kind": {
            "llm": "chat",
            "embedding": "embeddings",
            "retriever": "retrieval",
            "tool": "execute_tool",
        }
    },
    providers=("langsmith.metadata.ls_provider",),
    models=("langsmith.metadata.ls_model_name",),
)
