"""Ours, and the OpenTelemetry GenAI conventions, present and past: what most tools write, whatever else they write."""

from __future__ import annotations

from otel_latency import semconv
from otel_latency.ingest.dialects.dialect import Dialect, number, seconds, text

OURS = Dialect(
    name="otel_latency",
    seen="this package",
    scopes=(semconv.SCOPE,),
    measures={
        semconv.MILESTONES["first_chunk"]: "ttfc",
        semconv.MILESTONES["first_token"]: "ttft",
        semconv.MILESTONES["first_answer_token"]: "ttfat",
        semconv.MILESTONES["first_sentence"]: "ttfs",
        semconv.MILESTONES["tts_start"]: "tts_start",
        semconv.MILESTONES["first_audio"]: "ttfa",
        semconv.MILESTONES["first_audible"]: "first_audible",
        semconv.TIME_PER_OUTPUT_TOKEN: "tpot",
        semconv.BUDGET: "budget",
        semconv.TIMEOUT: "timeout",
        semconv.RETRIES: "retries",
        **{attribute: f"retries_{reason}" for reason, attribute in semconv.RETRY_REASONS.items()},
    },
    sources={
        semconv.SESSION: text("session"),
        semconv.REQUEST_ID: text("request_id"),
        semconv.INTERRUPT_REASON: text("end_reason"),
        semconv.FALLBACK: text("fallback"),
    },
    tasks=(semconv.TASK,),
)

GENAI = Dialect(
    name="genai",
    seen="opentelemetry-instrumentation-genai-openai 1.3b0, semantic-conventions-genai of 2026-08",
    scopes=("opentelemetry.instrumentation.genai", "opentelemetry.util.genai"),
    measures={
        "gen_ai.usage.input_tokens": "input_tokens",
        "gen_ai.usage.output_tokens": "output_tokens",
        "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
        "gen_ai.usage.cache_write.input_tokens": "cache_write_tokens",
        "gen_ai.usage.reasoning.output_tokens": "reasoning_tokens",
        "gen_ai.usage.audio.input_tokens": "audio_input_tokens",
        "gen_ai.usage.audio.cache_read.input_tokens": "audio_cache_read_tokens",
        "gen_ai.usage.audio.output_tokens": "audio_output_tokens",
    },
    sources={
        # A chunk may be framing, so this is no first token. Only LiveKit's is, under `scoped` there.
        "gen_ai.response.time_to_first_chunk": seconds("ttfc"),
        "gen_ai.client.operation.time_to_first_chunk": seconds("ttfc"),  # Pydantic AI writes the metric's name
        "gen_ai.response.time_to_first_token": seconds("ttfc"),  # Sentry's clients, before 2026
        "gen_ai.performance.tokens_per_second": number("tokens_per_second"),
        "gen_ai.usage.prompt_tokens": number("input_tokens"),
        "gen_ai.usage.completion_tokens": number("output_tokens"),
        "gen_ai.usage.cache_creation.input_tokens": number("cache_write_tokens"),
        "gen_ai.usage.cache_read_input_tokens": number("cache_read_tokens"),
        "gen_ai.usage.cache_creation_input_tokens": number("cache_write_tokens"),
        "gen_ai.usage.reasoning_tokens": number("reasoning_tokens"),
        "gen_ai.usage.input_audio_tokens": number("audio_input_tokens"),
        "gen_ai.usage.output_audio_tokens": number("audio_output_tokens"),
        "gen_ai.usage.cost.amount": number("cost_usd"),  # proposed; its currency is nearly always USD
        "gen_ai.usage.cost": number("cost_usd"),
        "gen_ai.conversation.id": text("session"),
        "gen_ai.agent.invocation.end_reason": text("end_reason"),
    },
    operations={"gen_ai.operation.name": {"completion": "text_completion", "embedding": "embeddings"}},
    providers=("gen_ai.provider.name", "gen_ai.system"),
    # What was asked for, not what answered: a failed call has no response, and its errors belong to the same series.
    models=("gen_ai.request.model", "gen_ai.response.model"),
)

PROVIDERS = {
    **{
        known: known
        for known in (
            "anthropic",
            "aws.bedrock",
            "azure.ai.inference",
            "azure.ai.openai",
            "cohere",
            "deepseek",
            "gcp.gemini",
            "gcp.gen_ai",
            "gcp.vertex_ai",
            "groq",
            "ibm.watsonx.ai",
            "mistral_ai",
            "moonshot_ai",
            "openai",
            "perplexity",
            "x_ai",
        )
    },
    "amazon": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "az.ai.inference": "azure.ai.inference",
    "azure_ai": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "gemini": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "google-vertex": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "xai": "x_ai",
}
"""What tools call a provider, in lower case -> the registry's `gen_ai.provider.name`."""
