"""Why a model stopped: `stop`, `length`, `tool_calls`, ... in the provider's own words.

An answer that reached its limit of tokens (`length`, `max_tokens`) is whole as far as the protocol goes: its call
ended well, and the reason tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from otel_latency.instrument.chunks import field, fields_of

FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
MAX_REASONS: Final = 16
MAX_LENGTH: Final = 64
"""Characters of a reason; a longer text is none."""

_PER_ANSWER: Final = ("choices", "candidates")
_NAMES: Final = ("finish_reason", "finishReason", "stop_reason", "done_reason")


def finish_reasons(chunk: object) -> list[str]:
    """The reasons that a chunk or a whole response gives, one per answer in it; empty while it goes on."""
    for name in _PER_ANSWER:
        answers = field(chunk, name)
        if isinstance(answers, list | tuple):
            return _known(_reason(answer) for answer in answers[:MAX_REASONS])
    incomplete = field(field(chunk, "response"), "incomplete_details") or field(chunk, "incomplete_details")
    return _known((_reason(chunk), _reason(field(chunk, "delta")), field(incomplete, "reason")))


def _reason(thing: object) -> object:
    fields = fields_of(thing)
    if fields is None:
        return next((found for name in _NAMES if (found := field(thing, name)) is not None), None)
    return next((found for name in _NAMES if (found := fields.get(name)) is not None), None)


def _known(reasons: Iterable[object]) -> list[str]:
    texts = (getattr(reason, "name", reason) for reason in reasons)  # Gemini's are enums
    return [text for text in texts if isinstance(text, str) and 0 < len(text) <= MAX_LENGTH]
