"""Event logs of a voice pipeline, as its services write them; the first is the published example of one request."""

import json

START = 1_764_253_805.0  # 2025-11-27 14:30:05 UTC

EXAMPLE = {
    "stt_transcript_finalized": 0,
    "stt_sending_to_v34": 15,
    "v34_webhook_received": 23,
    "v34_classification_complete": 125,
    "v34_retrieval_complete": 850,
    "v34_prompt_built": 862,
    "v34_ollama_sent": 880,
    "v34_ollama_received": 5200,
    "v34_sending_to_tts": 5215,
    "tts_request_received": 5230,
    "tts_pause_sent": 5235,
    "tts_synthesis_start": 5445,
    "tts_audio_playback_start": 5890,
    "tts_audio_playback_complete": 8450,
}
"""Event -> milliseconds."""


def line(milliseconds, event, request_id="abc123de", *, start=START, **metadata):
    """One line of the log; the service is the event's first word."""
    return json.dumps(
        {
            "timestamp": start + milliseconds / 1000,
            "iso_time": "2025-11-27T14:30:05.123456",
            "request_id": request_id,
            "service": event.partition("_")[0],
            "event": event,
            "metadata": metadata,
        }
    )


def lines(events=EXAMPLE, request_id="abc123de", *, start=START, **metadata):
    """The lines of one request."""
    return [line(at, event, request_id, start=start, **metadata) for event, at in events.items()]


def write(path, *requests):
    path.write_text("".join(f"{one}\n" for request in requests for one in request), encoding="utf-8")
    return path


def call(number, llm_seconds, tts_seconds=0.1, **metadata):
    """The lines of a request that asks the model and then speaks."""
    events = {
        "v34_ollama_sent": 0,
        "v34_ollama_received": llm_seconds * 1000,
        "tts_synthesis_start": llm_seconds * 1000,
        "tts_audio_playback_start": (llm_seconds + tts_seconds) * 1000,
    }
    return lines(events, f"r{number}", start=START + 10 * number, **metadata)
