"""The fields that measures are stored under: each name with its meaning and unit. Nothing else may appear in a row,
but the three texts of `ingest.details`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SECONDS: Final[Mapping[str, str]] = {
    "ttfc": "request to first chunk of any sort, a role-only one included",
    "ttft": "request to first generated token: content, reasoning or tool call",
    "ttfat": "request to first token of the answer",
    "ttfs": "request to first whole sentence",
    "tts_start": "start to the start of speech synthesis",
    "ttfa": "start to first audio",
    "first_audible": "start to first audible sample",
    "tpot": "time per output token after the first",
    "tpot_with_prefill": "mean gap of chunks with the wait for the first in it: not comparable with tpot",
    "duration": "length of the operation, where its span has none",
    "server_ttft": "arrival at the model host to first token there",
    "server_queue": "wait for a slot at the model host",
    "server_prefill": "reading the prompt at the model host",
    "server_decode": "generating tokens at the model host",
    "server_inference": "prefill and decode at the model host",
    "server_e2e": "arrival to last token at the model host",
    "server_tpot": "time per output token at the model host",
    "stt_delay": "end of speech to transcript",
    "endpoint_wait": "end of speech to the decision that the turn has ended",
    "hook_wait": "what the application did between the user's turn and the reply",
    "tts_ttfb": "text handed to synthesis to its first byte of audio",
    "e2e": "end of the user's speech to the start of the reply's",
    "budget": "how long the operation should take",
    "timeout": "how long the operation may take",
}
NUMBERS: Final[Mapping[str, str]] = {
    "input_tokens": "tokens read, those from the cache and those written to it included",
    "output_tokens": "tokens generated, reasoning included",
    "cache_read_tokens": "input tokens that came from the cache",
    "cache_write_tokens": "input tokens that were written to the cache",
    "reasoning_tokens": "output tokens spent on reasoning",
    "audio_input_tokens": "input tokens that stand for audio",
    "audio_cache_read_tokens": "those of them that came from the cache",
    "audio_output_tokens": "output tokens that stand for audio",
    "tokens_per_second": "output tokens per second",
    "cost_usd": "price in US dollars; absent when unknown",
    "retries": "attempts after the first",
    "retries_timeout": "those after a timeout",
    "retries_network": "those after a network error",
    "retries_rate_limit": "those after a rate limit",
    "retries_unavailable": "those after an overloaded server",
    "retries_gateway": "those after a gateway's error",
}
TEXTS: Final[Mapping[str, str]] = {
    "session": "id of the conversation",
    "request_id": "id of the request",
    "speech_id": "id of one utterance of a voice agent",
    "end_reason": "what ended the turn",
    "fallback": "what stood in for what failed",
}
FIELDS: Final[Mapping[str, str]] = {
    **{name: f"{meaning}, in seconds" for name, meaning in SECONDS.items()},
    **NUMBERS,
    **TEXTS,
}

NET_INPUT_TOKENS: Final = "net_input_tokens"
"""Input tokens without the cached ones, as some tools count them; summed up to `input_tokens` before anyone sees it."""

_MAX_SECONDS = 86_400.0
_MAX_NUMBER = 1e12
# Tools write 0 for a price or a gap that they do not know.
_ZERO_IS_UNKNOWN = frozenset({"cost_usd", "tpot_with_prefill"})


def is_plausible(name: str, value: float) -> bool:
    """Whether *value* can be what the field *name* says: finite, not negative, seconds at most a day."""
    limit = _MAX_SECONDS if name in SECONDS else _MAX_NUMBER
    return 0 <= value <= limit and not (value == 0 and name in _ZERO_IS_UNKNOWN)
