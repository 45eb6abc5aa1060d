"""The names of a voice pipeline's moments."""

import json

from otel_latency.instrument.events import Events

NAMES = [
    "stt_transcript_finalized",
    "stt_sending_to_v34",
    "v34_webhook_received",
    "v34_classification_start",
    "v34_classification_complete",
    "v34_retrieval_start",
    "v34_retrieval_complete",
    "v34_prompt_built",
    "v34_ollama_sent",
    "v34_ollama_received",
    "v34_sending_to_tts",
    "tts_request_received",
    "tts_pause_sent",
    "tts_synthesis_start",
    "tts_audio_playback_start",
    "tts_audio_playback_complete",
    "tts_resume_sent",
]


def test_names():
    """Seventeen, each a string that JSON writes as itself and whose constant is its name in capitals."""
    assert (17, NAMES) == (len(Events), [*Events])
    assert [name.upper() for name in NAMES] == [event.name for event in Events]
    assert '"v34_ollama_sent"' == json.dumps(Events.V34_OLLAMA_SENT)
