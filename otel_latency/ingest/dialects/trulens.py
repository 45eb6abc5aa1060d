"""TruLens: generations with a first chunk in milliseconds and a cost of their own."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, milliseconds, number, text

TRULENS = Dialect(
    name="trulens",
    seen="trulens-otel-semconv 2.16.0 (source)",
    scopes=("trulens",),
    sources={
        "ai.observability.generation.time_to_first_token_ms": milliseconds("ttfc"),
        "ai.observability.generation.tokens_per_second": number("tokens_per_second"),
        "ai.observability.cost.num_prompt_tokens": number("input_tokens"),
        "ai.observability.cost.num_completion_tokens": number("output_tokens"),
        "ai.observability.cost.num_reasoning_tokens": number("reasoning_tokens"),
        "ai.observability.cost.cost": number("cost_usd"),
        "ai.observability.conversation_id": text("session"),
    },
    operations={
        "ai.observability.span_type": {
            "generation": "chat",
            "reranking": "rerank",
            "tool": "execute_tool",
            "agent": "invoke_agent",
        }
    },
    models=("ai.observability.cost.model",),
)
