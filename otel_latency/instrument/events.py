"""The moments of a voice pipeline, by the names that `log_timing` writes and `otel-latency timeline` pairs up."""

from __future__ import annotations

from enum import StrEnum


class Events(StrEnum):
    """Each is a plain string as well: `Events.V34_OLLAMA_SENT == "v34_ollama_sent"`. v34 is the LLM preprocessor."""

    STT_TRANSCRIPT_FINALIZED = "stt_transcript_finalized"
    STT_SENDING_TO_V34 = "stt_sending_to_v34"

    V34_WEBHOOK_RECEIVED = "v34_webhook_received"
    V34_CLASSIFICATION_START = "v34_classification_start"
    V34_CLASSIFICATION_COMPLETE = "v34_classification_complete"
    V34_RETRIEVAL_START = "v34_retrieval_start"
    V34_RETRIEVAL_COMPLETE = "v34_retrieval_complete"
    V34_PROMPT_BUILT = "v34_prompt_built"
    V34_OLLAMA_SENT = "v34_ollama_sent"
    V34_OLLAMA_RECEIVED = "v34_ollama_received"
    V34_SENDING_TO_TTS = "v34_sending_to_tts"

    TTS_REQUEST_RECEIVED = "tts_request_received"
    TTS_PAUSE_SENT = "tts_pause_sent"
    TTS_SYNTHESIS_START = "tts_synthesis_start"
    TTS_AUDIO_PLAYBACK_START = "tts_audio_playback_start"
    TTS_AUDIO_PLAYBACK_COMPLETE = "tts_audio_playback_complete"
    TTS_RESUME_SENT = "tts_resume_sent"
