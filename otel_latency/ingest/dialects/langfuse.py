"""Langfuse: observations whose usage and cost are JSON in text, and whose first chunk is a quoted timestamp."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, json, json_cost, timestamp
from otel_latency.ingest.dialects.fields import NET_INPUT_TOKENS

LANGFUSE = Dialect(
    name="langfuse",
    seen="langfuse 5.0.4",
    scopes=("langfuse-sdk", "langfuse"),
    sources={
        "langfuse.observation.completion_start_time": timestamp("ttfc"),
        "langfuse.observation.usage_details": json(
            {
                # OpenAI's usage as it came: gross
                "prompt_tokens": "input_tokens",
                "completion_tokens": "output_tokens",
                "prompt_tokens_details.cached_tokens": "cache_read_tokens",
                "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "input_tokens_details.cached_tokens": "cache_read_tokens",
                "output_tokens_details.reasoning_tokens": "reasoning_tokens",
                # Langfuse's own: types that do not overlap
                "input": NET_INPUT_TOKENS,
                "output": "output_tokens",
                "cache_read_input_tokens": "cache_read_tokens",
                "input_cached_tokens": "cache_read_tokens",
                "cache_creation_input_tokens": "cache_write_tokens",
                "output_reasoning_tokens": "reasoning_tokens",
            }
        ),
        "langfuse.observation.cost_details": json_cost("cost_usd"),
    },
    operations={
        "langfuse.observation.type": {
            "generation": "chat",
            "embedding": "embeddings",
            "retriever": "retrieval",
            "tool": "execute_tool",
            "agent": "invoke_agent",
        }
    },
    statuses={"langfuse.observation.level": {"ERROR": "error"}},
    models=("langfuse.observation.model.name",),
)
