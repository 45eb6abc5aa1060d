"""Pipecat: a `conversation` of `turn`s with `stt`, `llm` and `tts` in them, one attribute for all first bytes."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, by_stage, number, seconds, text

PIPECAT = Dialect(
    name="pipecat",
    seen="pipecat-ai 1.14.0",
    scopes=("pipecat",),
    sources={
        "turn.user_bot_latency_seconds": seconds("e2e"),
        "tokens.prompt": number("input_tokens"),
        "tokens.completion": number("output_tokens"),
    },
    scoped={
        # The LLM's stops on the first chunk with choices, which is the role's.
        "metrics.ttfb": by_stage({"llm": "ttfc", "stt": "stt_delay", "tts": "tts_ttfb"}),
        "conversation.id": text("session"),
    },
    operations={"gen_ai.operation.name": {"llm_response": "realtime_inference"}},
    statuses={
        # The end of a conversation marks its last turn interrupted, too.
        "turn.ended_by_conversation_end": {"true": "ok"},
        "turn.was_interrupted": {"true": "interrupted"},
        "tts.interrupted": {"true": "interrupted"},
    },
    spans={"conversation": SpanRule(is_session=True), "turn": SpanRule(turn="turn")},
    net_input_providers=frozenset({"anthropic", "aws.bedrock"}),
)
