"""Datadog's tracer: only its vLLM integration measures first tokens, inside the host."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, number, seconds

DATADOG = Dialect(
    name="datadog",
    seen="ddtrace 4.16 (source)",
    scopes=("ddtrace", "datadog"),
    sources={
        "vllm.latency.ttft": seconds("server_ttft"),
        "vllm.latency.queue": seconds("server_queue"),
        "vllm.latency.prefill": seconds("server_prefill"),
        "vllm.latency.decode": seconds("server_decode"),
        "vllm.latency.inference": seconds("server_inference"),
    },
    scoped={
        "time_to_first_token": seconds("server_ttft"),
        "time_in_queue": seconds("server_queue"),
        "time_in_model_prefill": seconds("server_prefill"),
        "time_in_model_decode": seconds("server_decode"),
        "time_in_model_inference": seconds("server_inference"),
        "total_cost": number("cost_usd"),
    },
    providers=("vllm.request.provider",),
    models=("vllm.request.model",),
    spans={"vllm.request": SpanRule(operation="chat", is_host=True)},
)
