"""The Vercel AI SDK: `ai.generateText` wraps the calls `ai.generateText.doGenerate`, with the sum of their usage."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, milliseconds, number, text

VERCEL = Dialect(
    name="vercel",
    seen="ai 6.0.326",
    scopes=("ai",),
    sources={
        "ai.response.msToFirstChunk": milliseconds("ttfc"),
        "ai.stream.msToFirstChunk": milliseconds("ttfc"),
        "ai.response.msToFinish": milliseconds("duration"),
        "ai.response.avgOutputTokensPerSecond": number("tokens_per_second"),
        "ai.response.avgCompletionTokensPerSecond": number("tokens_per_second"),
        "ai.usage.inputTokens": number("input_tokens"),
        "ai.usage.promptTokens": number("input_tokens"),
        "ai.usage.tokens": number("input_tokens"),  # embeddings
        "ai.usage.outputTokens": number("output_tokens"),
        "ai.usage.completionTokens": number("output_tokens"),
        "ai.usage.inputTokenDetails.cacheReadTokens": number("cache_read_tokens"),
        "ai.usage.inputTokenDetails.cacheWriteTokens": number("cache_write_tokens"),
        "ai.usage.cachedInputTokens": number("cache_read_tokens"),
        "ai.usage.outputTokenDetails.reasoningTokens": number("reasoning_tokens"),
        "ai.usage.reasoningTokens": number("reasoning_tokens"),
        "ai.telemetry.metadata.sessionId": text("session"),
    },
    events={"ai.stream.firstChunk": "ttfc"},
    operations={
        "ai.operationId": {
            "ai.generateText.doGenerate": "chat",
            "ai.streamText.doStream": "chat",
            "ai.generateObject.doGenerate": "chat",
            "ai.streamObject.doStream": "chat",
            "ai.embed.doEmbed": "embeddings",
            "ai.embedMany.doEmbed": "embeddings",
            "ai.toolCall": "execute_tool",
        }
    },
    providers=("ai.model.provider",),
    models=("ai.model.id",),
    tasks=("ai.telemetry.functionId",),
)
