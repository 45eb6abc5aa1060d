"""What only whole turns need of a span, as text in its row: gates, moments and sentences, in JSON.

    after      [["<span id>", "first_sentence"], ...]     what the span waited for, from its links
    moments    {"prompt_built": 0.125, ...}               its plain events, in seconds from its start
    sentences  [[number, arrived, tts_started, audio_ready, played], ...]     null where it did not get so far

Text, because whatever else takes rows (windows, history) carries text along as it is; `aggregate.stages` reads it. The
first `MAX_MOMENTS` moments are kept. Cost: about 2 us for the spans that have any of it, nothing for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from otel_latency import semconv
from otel_latency.ingest.text import NAME_LIMIT, clean

SENTENCE: Final = "sentence"
"""The name of the event."""
SENTENCES: Final = "sentences"
MOMENTS: Final = "moments"
AFTER: Final = "after"
MAX_MOMENTS: Final = 32
MAX_SECONDS: Final = 86_400.0

_INDEX: Final = f"{semconv.SENTENCE}.index"
_STEPS: Final = tuple(f"{semconv.SENTENCE}.{step}" for step in ("arrived", "tts_started", "audio_ready", "played"))


def add_details(foreign: Mapping[str, object], measures: dict[str, float | str]) -> None:
    """Add to *measures* what a scanner handed over of links and events."""
    waits, moments, sentences = foreign.get(semconv.AFTER), foreign.get(MOMENTS), foreign.get(SENTENCES)
    if isinstance(waits, list):
        measures[AFTER] = _text([(span_id.hex(), clean(name, NAME_LIMIT)) for span_id, name in waits])
    if isinstance(moments, dict):
        measures[MOMENTS] = _text(dict(islice(moments.items(), MAX_MOMENTS)))
    if isinstance(sentences, list):
        measures[SENTENCES] = _text([_sentence(number, one) for number, one in enumerate(sentences)])


def _sentence(number: int, said: Mapping[str, object]) -> Sequence[float | None]:
    index = said.get(_INDEX)
    return [index if isinstance(index, int) else number, *(_seconds(said.get(step)) for step in _STEPS)]


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) <= MAX_SECONDS else None


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
