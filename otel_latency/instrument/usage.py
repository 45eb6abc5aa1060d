"""The token counts that a provider reports: in the last chunks of a stream, or with a whole response; and their sum.

Providers differ in what a number includes. Here, as in OpenTelemetry's conventions, input includes what came from the
cache or was written to it (Anthropic counts those apart), and output includes reasoning (Gemini counts it apart).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from otel_latency.instrument.chunks import field, fields_of


class Usage(NamedTuple):
    """Counts as far as they are known."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    is_net: bool = False
    """Whether `input_tokens` still lacks the cached ones. They are added at the end, as Anthropic sends them first."""

    def updated(self, later: Usage) -> Usage:
        """These counts with those that a later chunk brings."""
        news = {name: value for name, value in later._asdict().items() if value is not None}
        return self._replace(**{**news, "is_net": self.is_net or later.is_net})

    def counts(self) -> dict[str, int]:
        """The known counts by name, input with all that was read from and written to the cache."""
        known = {name: value for name, value in self._asdict().items() if value is not None and name != "is_net"}
        if self.is_net and "input_tokens" in known:
            known["input_tokens"] += (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)
        return known


class Source(Enum):
    """Who counted. Several may count one response: their numbers are never added to each other's."""

    EXPECTED = "expected"
    INNER_SPAN = "inner_span"
    CLIENT = "client"
    STREAM = "stream"
    USER = "user"


class Tally:
    """The counts of one call, which may be several responses: those of one source are added up.

    The user's word goes first. Else the highest sum is right: who counts less has not seen every response. What was
    expected holds until somebody counts.

    Memory: a few numbers, however many responses there are.
    """

    __slots__ = ("_is_complete", "_latest", "_sums")

    def __init__(self, input_tokens: float | None = None) -> None:
        self._sums: dict[Source, dict[str, float]] = {}
        if input_tokens is not None:
            self._sums[Source.EXPECTED] = {"input_tokens": input_tokens}
        self._latest: dict[str, float] = {}
        """What the user said of the latest response, not in the sums yet."""
        self._is_complete = False

    def add(self, counts: Mapping[str, float], source: Source) -> None:
        """The counts of one whole response."""
        sums = self._sums.setdefault(source, {})
        for name, count in counts.items():
            sums[name] = sums.get(name, 0) + count

    def say(self, counts: Mapping[str, float], *, is_running: bool) -> None:
        """The user's word; *is_running* while the response still comes, and the next word replaces this one."""
        if self._is_complete and not self._latest.keys().isdisjoint(counts):
            self.next()
        self._latest.update(counts)
        self._is_complete = not is_running

    def next(self) -> None:
        """Another response begins."""
        self.add(self._latest, Source.USER)
        self._latest, self._is_complete = {}, False

    def next_stream(self) -> None:
        """So does another stream; what was said of its input before is its own."""
        if "output_tokens" in self._latest:
            self.next()
        self._is_complete = False

    def totals(self) -> dict[str, float]:
        """The counts by name."""
        counted: dict[str, float] = {}
        for source in _COUNTERS:
            for name, count in self._sums.get(source, _NOTHING).items():
                counted[name] = max(count, counted.get(name, 0))
        said = self._sums.get(Source.USER, _NOTHING)
        latest = {name: said.get(name, 0) + count for name, count in self._latest.items()}
        return {**self._sums.get(Source.EXPECTED, _NOTHING), **counted, **said, **latest}


_COUNTERS: Final = (Source.INNER_SPAN, Source.CLIENT, Source.STREAM)
_NOTHING: Final[Mapping[str, float]] = {}


def usage_of(chunk: object) -> Usage | None:
    """The counts in a chunk or response; None when it has none."""
    fields = fields_of(chunk)
    if fields is not None and all(fields.get(place) is None for place in _PLACES):
        return None
    for path in _PATHS:
        if (found := _dig(chunk, path)) is not None and not isinstance(found, bool | int | float | str):
            return _gemini(found) or _counts(found)
    return _ollama(chunk)


_PATHS: Final = (
    ("usage",),
    ("usage_metadata",),
    ("usageMetadata",),
    ("response", "usage"),  # OpenAI Responses: response.completed
    ("message", "usage"),  # Anthropic: message_start
    ("chunk", "usage"),  # the event of a helper around a chat chunk
    ("x_groq", "usage"),
)

_PLACES: Final = (*dict.fromkeys(path[0] for path in _PATHS), "prompt_eval_count", "eval_count")
"""Where counts may be; of most chunks nothing is."""

_INPUT: Final = (("prompt_tokens",), ("input_tokens",))
_OUTPUT: Final = (("completion_tokens",), ("output_tokens",))
_CACHE_READ: Final = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("input_token_details", "cache_read"),
    ("cache_read_input_tokens",),
    ("prompt_cache_hit_tokens",),
)
_CACHE_WRITE: Final = (("input_token_details", "cache_creation"), ("cache_creation_input_tokens",))
_REASONING: Final = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "thinking_tokens"),
    ("output_token_details", "reasoning"),
)


def _counts(usage: Any) -> Usage | None:
    found = Usage(
        input_tokens=_first(usage, _INPUT),
        output_tokens=_first(usage, _OUTPUT),
        cache_read_tokens=_first(usage, _CACHE_READ),
        cache_write_tokens=_first(usage, _CACHE_WRITE),
        reasoning_tokens=_first(usage, _REASONING),
    )
    if found == Usage():
        return None
    # Whoever says `prompt_tokens` has the cached ones in it; of those who say `input_tokens`, only Anthropic has not.
    is_net = _count(usage, "prompt_tokens") is None and (
        _count(usage, "cache_read_input_tokens") is not None or _count(usage, "cache_creation_input_tokens") is not None
    )
    return found._replace(is_net=is_net)


def _gemini(usage: Any) -> Usage | None:
    prompt = _first(usage, (("prompt_token_count",), ("promptTokenCount",)))
    answer = _first(usage, (("candidates_token_count",), ("candidatesTokenCount",)))
    thoughts = _first(usage, (("thoughts_token_count",), ("thoughtsTokenCount",)))
    if prompt is None and answer is None:
        return None
    cached = _first(usage, (("cached_content_token_count",), ("cachedContentTokenCount",)))
    output = None if answer is None else answer + (thoughts or 0)
    return Usage(prompt, output, cached, reasoning_tokens=thoughts)


def _ollama(chunk: Any) -> Usage | None:
    found = Usage(_count(chunk, "prompt_eval_count"), _count(chunk, "eval_count"))
    return None if found == Usage() else found


def _first(thing: Any, paths: tuple[tuple[str, ...], ...]) -> int | None:
    for path in paths:
        if (count := _count(_dig(thing, path[:-1]), path[-1])) is not None:
            return count
    return None


def _count(thing: Any, name: str) -> int | None:
    value = _dig(thing, (name,))
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _dig(thing: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        thing = field(thing, name)
    return thing
