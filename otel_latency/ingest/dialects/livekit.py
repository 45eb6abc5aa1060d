"""LiveKit Agents: a session-long trace in which each reply is an `agent_turn`.

Its first chunk is the first one that holds a response, so the convention's name means the first token here.
"""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, SpanRule, json, number, seconds, text, timestamp

LIVEKIT = Dialect(
    name="livekit",
    seen="livekit-agents 1.8.9",
    scopes=("livekit-agents",),
    sources={
        "lk.response.ttft": seconds("ttft"),  # -1 when there was none
        "lk.response.ttfb": seconds("tts_ttfb"),
        "lk.llm_metrics": json({"ttft": "ttft", "tokens_per_second": "tokens_per_second"}),
        "lk.tts_metrics": json({"ttfb": "tts_ttfb"}),
        "lk.transcription_delay": seconds("stt_delay"),
        "lk.end_of_turn_delay": seconds("endpoint_wait"),
        "lk.eou.wait_duration": seconds("endpoint_wait"),
        "lk.on_user_turn_completed_delay": seconds("hook_wait"),
        "lk.e2e_latency": seconds("e2e"),
        "lk.retry_count": number("retries"),
        "lk.speech_id": text("speech_id"),
        "lk.interruption.source": text("end_reason"),
        "lk.room_sid": text("session"),
        "lk.job_id": text("session"),
        "gen_ai.usage.input_cached_tokens": number("cache_read_tokens"),
    },
    scoped={
        "gen_ai.response.time_to_first_chunk": seconds("ttft"),
        "langfuse.observation.completion_start_time": timestamp("ttft"),
    },
    statuses={"lk.interrupted": {"true": "interrupted"}},
    spans={
        "agent_session": SpanRule(is_session=True),
        "job_entrypoint": SpanRule(is_session=True),
        "agent_turn": SpanRule(turn="agent_turn"),
        "llm_node": SpanRule(stage="llm"),
        "tts_node": SpanRule(stage="tts"),
    },
)
