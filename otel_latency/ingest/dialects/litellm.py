"""LiteLLM: the proxy's and the library's spans; operations carry the names of its functions."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, number

_OPERATIONS = {
    "completion": "chat",
    "acompletion": "chat",
    "responses": "chat",
    "aresponses": "chat",
    "anthropic_messages": "chat",
    "atext_completion": "text_completion",
    "agenerate_content": "generate_content",
    "agenerate_content_stream": "generate_content",
    "embedding": "embeddings",
    "aembedding": "embeddings",
    "arerank": "rerank",
    "transcription": "speech_to_text",
    "atranscription": "speech_to_text",
    "speech": "text_to_speech",
    "aspeech": "text_to_speech",
}

LITELLM = Dialect(
    name="litellm",
    seen="litellm 1.106.2",
    scopes=("litellm",),
    sources={"gen_ai.cost.total_cost": number("cost_usd")},
    operations={"gen_ai.operation.name": _OPERATIONS},
    spans={
        "Received Proxy Server Request": SpanRule(operation=""),
        "raw_gen_ai_request": SpanRule(operation=""),
    },
)
