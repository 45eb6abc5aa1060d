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
TIME_PER_OUTPUT_TOKEN: Final = "otel_latency.time_per_output_token"
RETRIES: Final = "otel_latency.retries"

# Log records about running operations: `event_name`, and the attributes each carries.
OPERATION_START: Final = "otel_latency.operation.start"
OPERATION_PROGRESS: Final = "otel_latency.operation.progress"
OPERATION_WARNING: Final = "otel_latency.operation.warning"
OPERATION_END: Final = "otel_latency.operation.end"
ESTIMATE: Final = "otel_latency.estimate"  # seconds
ELAPSED: Final = "otel_latency.elapsed"  # seconds

STATUSES: Final = ("ok", "error", "timeout", "cancelled", "interrupted")
