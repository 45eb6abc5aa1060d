"""Model hosts that trace their own requests: vLLM and SGLang. The times are the host's, from arrival to last token."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, number, seconds, text

_REQUEST = {"llm_request": SpanRule(operation="chat", is_host=True)}

VLLM = Dialect(
    name="vllm",
    seen="vllm 0.29 (its tests' recorded attributes)",
    scopes=("vllm",),
    sources={
        "gen_ai.latency.time_to_first_token": seconds("server_ttft"),
        "gen_ai.latency.time_in_queue": seconds("server_queue"),
        "gen_ai.latency.time_in_model_prefill": seconds("server_prefill"),
        "gen_ai.latency.time_in_model_decode": seconds("server_decode"),
        "gen_ai.latency.time_in_model_inference": seconds("server_inference"),
        "gen_ai.latency.e2e": seconds("server_e2e"),
        "gen_ai.latency.time_in_request": seconds("server_e2e"),
        "gen_ai.usage.cached_tokens": number("cache_read_tokens"),
        "gen_ai.request.id": text("request_id"),
    },
    provider="vllm",
    spans=_REQUEST,
)

SGLANG = Dialect(name="sglang", seen="sglang 0.5 (source)", scopes=("sglang",), provider="sglang", spans=_REQUEST)
