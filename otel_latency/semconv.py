"""The names we own: span attributes, span events, log events and the fields that measures are stored under.

`otel_latency.*` attributes are what our instrumentation writes and what the agent trusts most. Other tools' names
live as data in `ingest/dialects`; metric names live beside the code that exports them.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "otel_latency"

# Attributes that say what a span is.
STAGE: Final = "otel_latency.stage"  # the stage's name where it is not the span's name
TURN: Final = "otel_latency.turn"  # the turn's name, on the turn's root span
TASK: Final = "otel_latency.task"  # what the user calls an LLM call: "script_generation"
STATUS: Final = "otel_latency.status"  # ok, error, timeout, cancelled, interrupted
BUDGET: Final = "otel_latency.budget"  # seconds
TIMEOUT: Final = "otel_latency.timeout"  # seconds
SESSION: Final = "session.id"
REQUEST_ID: Final = "otel_latency.request_id"
PART_OF: Final = "otel_latency.part_of"  # "llm_call" on a client's own span inside a call of ours: it is no second call
AFTER: Final = "otel_latency.after"  # on a span link: the producer's milestone this span waited for

# Seconds-valued span attributes; the span event of the same moment has the short name.
MILESTONES: Final = {
    "first_chunk": "otel_latency.time_to_first_chunk",
    "first_token": "otel_latency.time_to_first_token",
    "first_answer_token": "otel_latency.time_to_first_answer_token",
    "first_sentence": "otel_latency.time_to_first_sentence",
    "tts_start": "otel_latency.time_to_first_tts",
    "first_audio": "otel_latency.time_to_first_audio",
    "first_audible": "otel_latency.time_to_first_audible",
}
TIME_PER_OUTPUT_TOKEN: Final = "otel_latency.time_per_output_token"  # noqa: S105 - a name, no secret
RETRIES: Final = "otel_latency.retries"
RETRY_REASONS: Final = {
    reason: f"otel_latency.retry_reasons.{reason}"
    for reason in ("timeout", "network", "rate_limit", "unavailable", "gateway")
}  # reason -> how many of the retries it had
RETRY_REASON: Final = "otel_latency.retry_reason"  # on the event of a retry: one of the above
RETRY_DELAY: Final = "otel_latency.retry_delay"  # on the event of a retry: seconds
ATTEMPT: Final = "otel_latency.attempt"  # on the events of attempts and retries: 1, 2, ...
ERROR_CATEGORY: Final = "otel_latency.error_category"  # network, api, memory, processing

# How a stream flowed: seconds, counts and words.
TOKENS_PER_SECOND: Final = "otel_latency.tokens_per_second"  # output tokens over the time from request to last token
INTER_TOKEN_LATENCY_P50: Final = "otel_latency.inter_token_latency_p50"  # noqa: S105 - a name, no secret
INTER_TOKEN_LATENCY_P99: Final = "otel_latency.inter_token_latency_p99"  # noqa: S105 - a name, no secret
INTER_TOKEN_LATENCY_MAX: Final = "otel_latency.inter_token_latency_max"  # noqa: S105 - a name, no secret
LONGEST_GAP: Final = "otel_latency.longest_gap"  # between two chunks with tokens
STALLS: Final = "otel_latency.stalls"
OUTPUT_CHUNKS: Final = "otel_latency.output_chunks"  # chunks with tokens
FIRST_TOKEN_KIND: Final = "otel_latency.first_token_kind"  # noqa: S105 - content, reasoning, tool
STREAM_OUTCOME: Final = "otel_latency.stream_outcome"  # completed, truncated, broken, cancelled, abandoned

# A spoken reply: on the turn or stage, and on its `sentence` events.
SENTENCE: Final = "otel_latency.sentence"  # prefix: index; arrived, tts_started, audio_ready, played as seconds
SENTENCES: Final = "otel_latency.sentences"
SYNTHESIS_SECONDS: Final = "otel_latency.synthesis_seconds"  # sum over sentences: asked for to first audio
AUDIO_SECONDS: Final = "otel_latency.audio_seconds"  # played
UNDERRUNS: Final = "otel_latency.underruns"  # gaps in playback because audio came late
UNDERRUN_SECONDS: Final = "otel_latency.underrun_seconds"
BARGE_IN_STOP: Final = "otel_latency.barge_in_stop"  # seconds from the user's voice to silence

OVER_BUDGET: Final = "otel_latency.over_budget"  # true where the budget did not suffice; absent otherwise
INTERRUPT_REASON: Final = "otel_latency.interrupt_reason"  # why a turn or stage was cut short: "barge_in"
FALLBACK: Final = "otel_latency.fallback"  # what stood in for what failed

# Log records about running operations: `event_name`, and the attributes each carries.
OPERATION_START: Final = "otel_latency.operation.start"
OPERATION_PROGRESS: Final = "otel_latency.operation.progress"
OPERATION_WARNING: Final = "otel_latency.operation.warning"
OPERATION_END: Final = "otel_latency.operation.end"
ESTIMATE: Final = "otel_latency.estimate"  # seconds
ELAPSED: Final = "otel_latency.elapsed"  # seconds

# A `log_timing` outside of any span: `event_name`, and the attribute with the event's own name.
TIMING: Final = "otel_latency.timing"
EVENT: Final = "otel_latency.event"

STATUSES: Final = ("ok", "error", "timeout", "cancelled", "interrupted")
