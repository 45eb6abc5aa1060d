"""LangWatch's attributes for voice turns, in milliseconds."""

from __future__ import annotations

from otel_latency.ingest.dialects.dialect import Dialect, milliseconds

LANGWATCH = Dialect(
    name="langwatch",
    seen="its documentation of 2026",
    scopes=("langwatch",),
    sources={
        "voice.turn.latency_ms": milliseconds("e2e"),
        "voice.latency.first_audio_from_turn_start_ms": milliseconds("e2e"),
        "voice.latency.endpoint_ms": milliseconds("endpoint_wait"),
    },
)
