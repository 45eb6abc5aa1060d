"""Times a stream while the user's code reads it, and changes nothing about it.

`StreamTimer.watch` returns a stand-in of the same kind: an iterator, an async iterator, a context manager around
either, or a client's stream object with all its attributes and methods, `isinstance` included. It yields the same
objects in the same order when asked for the next one, and not before. Exceptions and cancellation pass through.

Each chunk is stamped by one reading of the monotonic clock as it arrives, before anyone looks at it. The first chunk,
token, answer token and sentence are reported at once; gaps, rates and usage when the stream ends. A sentence arrives
with its last character, though only what follows tells that it was the last.

Cost: about 1 us a chunk. Kept: one stamp for each token, at most `MAX_STAMPS`, and the last two chunks.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from time import monotonic_ns
from typing import Any, Final, Protocol, Self, TypeVar, cast

from otel_latency import semconv
from otel_latency.instrument.chunks import Kind, Reader, Reading, is_final
from otel_latency.instrument.finish import FINISH_REASONS, finish_reasons
from otel_latency.instrument.gaps import flow
from otel_latency.instrument.glimpse import Glimpse, glimpse_at, never
from otel_latency.instrument.guard import guard
from otel_latency.instrument.sentences import SentenceSplitter
from otel_latency.instrument.usage import Source, Usage, usage_of

MAX_STAMPS: Final = 100_000
"""Token chunks whose gaps are measured. Of a longer stream the rest is counted."""

_NS: Final = 1e9
_MAX_SAMPLES: Final = 16
"""Chunks of a stream that are tried as samples for a quick look. Most streams need one for each kind of token."""

Stream = TypeVar("Stream")
Classify = Callable[[Any], Kind | str]


class Outcome(StrEnum):
    """How a stream ended."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"  # it stopped without the last chunk of its protocol
    BROKEN = "broken"  # it raised
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"  # closed or dropped before its end


OnEnd = Callable[[Outcome, BaseException | None, int], None]
"""Told how a stream ended, what it raised, and when, in nanoseconds of the monotonic clock."""


class Call(Protocol):
    """What a timer reports to: an LLM call, as far as it matters here."""

    @property
    def start_monotonic_ns(self) -> int:
        """When the request was issued."""

    def milestone(self, name: str, *, at: int | None = None) -> object:
        """Something was reached at the monotonic time *at*, in nanoseconds."""

    def set(self, **attributes: Any) -> object:
        """Put attributes on the span."""

    def count(self, counts: Mapping[str, float], source: Source) -> object:
        """Say how many tokens there were."""


def observe(stream: Stream, call: Call, *, classify: Classify | None = None) -> Stream:
    """Time *stream* for *call*; *classify* says what a chunk is where its shape does not."""
    return StreamTimer(call, classify=classify).watch(stream)


class StreamTimer:
    """What is known about one stream. Nothing here raises into the code that reads it."""

    __slots__ = (
        "_call",
        "_first_kind",
        "_firsts",
        "_glimpse",
        "_glimpses",
        "_is_reasoning_streamed",
        "_last",
        "_listen",
        "_on_end",
        "_previous",
        "_read",
        "_samples_left",
        "_source",
        "_usage",
        "outcome",
        "stamps",
    )

    def __init__(
        self,
        call: Call,
        *,
        classify: Classify | None = None,
        on_end: OnEnd | None = None,
        source: Source = Source.STREAM,
    ) -> None:
        self.stamps = array("q")
        """When the chunks with tokens came."""
        self.outcome: Outcome | None = None
        self._call = call
        self._on_end = on_end
        self._source = source
        self._read: Callable[[Any], Reading] = Reader().read if classify is None else _reading(classify)
        self._firsts: _Firsts | None = _Firsts(call)
        self._listen: Callable[[str, int], bool] | None = None
        """Told of the answer's text, while its first sentence is sought and the quick look finds the text."""
        self._glimpse: Glimpse = never
        self._glimpses: dict[tuple[type, Kind, bool], Glimpse] = {}
        self._samples_left = _MAX_SAMPLES if classify is None else 0
        self._usage = Usage()
        self._first_kind: Kind | None = None
        self._is_reasoning_streamed = False
        self._last: Any = None
        self._previous: Any = None

    def watch(self, stream: Stream) -> Stream:
        """A stand-in for *stream*, or *stream* itself where it is nothing to iterate or enter."""
        settle_dropped()
        try:
            stand_in = _stand_in(tuple(name for name in _PARTS if hasattr(type(stream), name)))
            return stream if stand_in is None else cast("Stream", stand_in(stream, self))
        except Exception as fault:
            guard.caught("stream", fault)
            return stream

    def add(self, chunk: object) -> None:
        """A chunk has arrived."""
        now = monotonic_ns()
        self._previous = self._last
        self._last = chunk
        try:
            token = self._glimpse(chunk)
        except Exception:  # it looks different
            token = None
        try:
            if not token:
                self._look(chunk, now)
                return
            if len(self.stamps) < MAX_STAMPS:
                self.stamps.append(now)
            if self._listen is not None and self._listen(token, now):
                self._firsts = self._listen = None
        except Exception as fault:
            guard.caught("chunk", fault)

    def _look(self, chunk: object, now: int) -> None:
        reading = kind, text = self._read(chunk)
        if kind is Kind.USAGE:
            self._count(chunk)
        if kind.is_token and len(self.stamps) < MAX_STAMPS:
            self.stamps.append(now)
        if self._firsts is not None:
            if kind.is_token and self._first_kind is None:
                self._first_kind = kind
            if not (self._firsts.has_chunk or kind.is_token):  # Anthropic counts the input at the start
                self._count(chunk)
            self._is_reasoning_streamed |= kind is Kind.REASONING
            if self._firsts.are_found(kind, text, now):
                self._firsts = None
        if kind.is_token:
            self._expect_more(chunk, reading)

    def _expect_more(self, chunk: object, reading: Reading) -> None:
        """Look quickly from now on, for tokens like this one."""
        kind, text = reading
        known = (type(chunk), kind, bool(text))
        glimpse = self._glimpses.get(known, never)
        if glimpse is never and self._samples_left:
            self._samples_left -= 1
            glimpse = glimpse_at(chunk, reading)
            if glimpse is not never:
                self._glimpses[known] = glimpse
        self._glimpse = glimpse
        self._listen = self._firsts.hear if self._firsts is not None and text else None

    def stopped(self, failure: BaseException) -> None:
        """Asked for another chunk, the stream raised instead."""
        if isinstance(failure, StopIteration | StopAsyncIteration):
            self.finish(Outcome.COMPLETED)
        elif isinstance(failure, Exception):
            self.finish(Outcome.BROKEN, failure)
        else:
            self.finish(Outcome.CANCELLED, failure)

    def abandon(self, failure: BaseException | None = None) -> None:
        """The work around it has ended, with *failure*, and nobody will read on."""
        is_cancelled = failure is not None and not isinstance(failure, Exception)
        self.finish(Outcome.CANCELLED if is_cancelled else Outcome.ABANDONED, failure)

    def finish(self, outcome: Outcome, failure: BaseException | None = None, *, at: int | None = None) -> None:
        """Report. Only the first call counts. *at* is for an end that is noticed late."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        try:
            self.outcome = self._corrected(outcome)
            self._report()
        except Exception as fault:
            guard.caught("stream", fault)
        self._firsts = self._listen = self._last = self._previous = None
        if self._on_end is not None:
            try:
                self._on_end(self.outcome, failure, monotonic_ns() if at is None else at)
            except Exception as fault:
                guard.caught("stream", fault)

    def _corrected(self, outcome: Outcome) -> Outcome:
        """What the last chunks say: many stop reading at the last one, and a server may vanish without an error."""
        if outcome not in {Outcome.COMPLETED, Outcome.ABANDONED} or self._last is None:
            return outcome
        marks = {is_final(chunk) for chunk in (self._previous, self._last) if chunk is not None}
        if True in marks:
            return Outcome.COMPLETED
        return Outcome.TRUNCATED if outcome is Outcome.COMPLETED and False in marks else outcome

    def _report(self) -> None:
        if self._firsts is not None and self.outcome in {Outcome.COMPLETED, Outcome.TRUNCATED}:
            self._firsts.finish()
        known: dict[str, Any] = {semconv.STREAM_OUTCOME: str(self.outcome)}
        if self._first_kind is not None:
            known[semconv.FIRST_TOKEN_KIND] = self._first_kind.value
        reasons: list[str] = []
        for chunk in (self._previous, self._last):
            self._count(chunk)
            reasons += finish_reasons(chunk)
        if reasons:
            known[FINISH_REASONS] = reasons
        counts = self._usage.counts()
        if counts:
            self._call.count(counts, self._source)
        self._call.set(**known, **self._flow(counts))

    def _count(self, chunk: object) -> None:
        found = None if chunk is None or isinstance(chunk, str | bytes) else usage_of(chunk)
        if found is not None:
            self._usage = self._usage.updated(found)

    def _flow(self, counts: dict[str, int]) -> dict[str, float]:
        """Usage is the whole stream's: of one that was cut short, or cut off here, each chunk counts as one token."""
        known: dict[str, float] = {semconv.OUTPUT_CHUNKS: len(self.stamps)}
        is_whole = self.outcome is Outcome.COMPLETED and len(self.stamps) < MAX_STAMPS
        measured = flow(self.stamps, self._tokens_per_chunk(counts) if is_whole else 1.0)
        if measured is not None:
            known[semconv.TIME_PER_OUTPUT_TOKEN] = measured.time_per_output_token
            known[semconv.INTER_TOKEN_LATENCY_P50] = measured.gap_p50
            known[semconv.INTER_TOKEN_LATENCY_P99] = measured.gap_p99
            known[semconv.INTER_TOKEN_LATENCY_MAX] = measured.gap_max
            known[semconv.LONGEST_GAP] = measured.longest_gap
            known[semconv.STALLS] = measured.stalls
        taken_ns = self.stamps[-1] - self._call.start_monotonic_ns if is_whole and self.stamps else 0
        if taken_ns > 0 and "output_tokens" in counts:
            known[semconv.TOKENS_PER_SECOND] = counts["output_tokens"] * _NS / taken_ns
        return known

    def _tokens_per_chunk(self, counts: dict[str, int]) -> float:
        """Reasoning that was billed but not streamed is in no chunk."""
        hidden = 0 if self._is_reasoning_streamed else counts.get("reasoning_tokens", 0)
        visible = counts.get("output_tokens", 0) - hidden
        return visible / len(self.stamps) if visible > 0 and self.stamps else 1.0


class _Firsts:
    """Reports the first of everything, as it comes."""

    __slots__ = ("_call", "_has_answer", "_has_token", "_latest", "_pieces", "_splitter", "has_chunk")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.has_chunk = self._has_token = self._has_answer = False
        self._splitter = SentenceSplitter()
        self._latest = 0
        self._pieces: list[tuple[int, int]] = []
        """Length of the text after a piece, and when that came; since the last mark that may end a sentence."""

    def are_found(self, kind: Kind, text: str, now: int) -> bool:
        """Take note of a chunk; True when there is nothing left to look for."""
        if not self.has_chunk:
            self.has_chunk = True
            self._call.milestone("first_chunk", at=now)
        if kind.is_token and not self._has_token:
            self._has_token = True
            self._call.milestone("first_token", at=now)
        if kind is Kind.CONTENT and not self._has_answer:
            self._has_answer = True
            self._call.milestone("first_answer_token", at=now)
        return bool(text) and self.hear(text, now)

    def hear(self, text: str, now: int) -> bool:
        """Take note of the answer's text alone; True when its first sentence is found."""
        ends = self._splitter.feed(text)
        self._latest = now
        if ends or self._splitter.is_undecided:
            self._pieces.append((self._splitter.length, now))
        elif self._pieces:
            self._pieces.clear()
        return bool(ends) and self._report(ends)

    def finish(self) -> None:
        """The text is over, and with it its only sentence."""
        self._report(self._splitter.finish())

    def _report(self, ends: list[int]) -> bool:
        if ends:
            arrived = next((at for length, at in self._pieces if length >= ends[0]), self._latest)
            self._call.milestone("first_sentence", at=arrived)
        return bool(ends)


def _reading(classify: Classify) -> Callable[[Any], Reading]:
    """The user's word for the kind, the chunk's shape for its text."""
    read = Reader().read

    def reading(chunk: Any) -> Reading:
        said = classify(chunk)
        kind = said if isinstance(said, Kind) else Kind(said)
        return kind, read(chunk)[1] if kind is Kind.CONTENT else ""

    return reading


_dropped: Final[deque[tuple[StreamTimer, int]]] = deque()


def settle_dropped() -> None:
    """Finish the streams that were dropped before their end.

    Garbage collection may drop one at any moment, while this very thread holds a lock of the SDK's too. So the drop is
    only noted there, and dealt with here: when the next stream starts or the call ends, at the latest by a timer.
    """
    while _dropped:
        try:
            timer, at = _dropped.popleft()
        except IndexError:  # another thread was faster
            return
        timer.finish(Outcome.ABANDONED, at=at)


class _StandIn:
    """Answers for a stream: what is not timed goes to it directly."""

    __slots__ = ("__weakref__", "_add", "_step", "_stream", "_timer")

    def __init__(self, stream: Any, timer: StreamTimer) -> None:
        put = object.__setattr__
        put(self, "_timer", timer)
        put(self, "_stream", stream)
        put(self, "_add", timer.add)
        put(self, "_step", getattr(stream, "__next__", None) or getattr(stream, "__anext__", None))

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._stream)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if name not in {"close", "aclose"}:
            return found

        def closing(*arguments: Any, **options: Any) -> Any:
            self._timer.finish(Outcome.ABANDONED)
            return found(*arguments, **options)

        return closing

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._stream, name, value)

    def __repr__(self) -> str:
        return repr(self._stream)


class _Iterable(_StandIn):
    __slots__ = ()

    def __iter__(self) -> Any:
        return self._timer.watch(iter(self._stream))


class _Iterator(_StandIn):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        inner = iter(self._stream)
        return self if inner is self._stream else self._each(inner)

    def _each(self, inner: Iterator[Any]) -> Iterator[Any]:
        """For a client's stream, whose `__iter__` is a generator function as well: twice as quick as `__next__`."""
        add = self._add
        try:
            for chunk in inner:
                add(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as failure:
            self._timer.stopped(failure)
            raise
        self._timer.finish(Outcome.COMPLETED)

    def __next__(self) -> Any:
        try:
            chunk = self._step()
        except BaseException as failure:
            self._timer.stopped(failure)
            raise
        self._add(chunk)
        return chunk


class _AsyncIterable(_StandIn):
    __slots__ = ()

    def __aiter__(self) -> Any:
        return self._timer.watch(self._stream.__aiter__())


class _AsyncIterator(_StandIn):
    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await self._step()
        except BaseException as failure:
            self._timer.stopped(failure)
            raise
        self._add(chunk)
        return chunk


class _Context(_StandIn):
    """A `with` around the stream ends its timing; its `as` may be the stream itself or another object."""

    __slots__ = ()

    def __enter__(self) -> Any:
        inner = self._stream.__enter__()
        return self if inner is self._stream else self._timer.watch(inner)

    def __exit__(self, *failure: object) -> Any:
        self._timer.finish(Outcome.ABANDONED)
        return self._stream.__exit__(*failure)


class _AsyncContext(_StandIn):
    __slots__ = ()

    async def __aenter__(self) -> Any:
        inner = await self._stream.__aenter__()
        return self if inner is self._stream else self._timer.watch(inner)

    async def __aexit__(self, *failure: object) -> Any:
        self._timer.finish(Outcome.ABANDONED)
        return await self._stream.__aexit__(*failure)


_PARTS: Final[dict[str, type[_StandIn]]] = {
    "__next__": _Iterator,
    "__anext__": _AsyncIterator,
    "__iter__": _Iterable,
    "__aiter__": _AsyncIterable,
    "__enter__": _Context,
    "__aenter__": _AsyncContext,
}
_ITERATORS: Final = frozenset({"__next__", "__anext__"})


@lru_cache(maxsize=64)
def _stand_in(protocols: tuple[str, ...]) -> type[_StandIn] | None:
    """The class that answers to just these protocols; None for none."""
    if not protocols:
        return None
    parts = tuple(_PARTS[name] for name in protocols)
    members: dict[str, Any] = {"__slots__": ()}
    if _ITERATORS.intersection(protocols):
        members["__del__"] = _note_drop
    return type("Observed", parts, members)


def _note_drop(
    self: _StandIn,
    note: Callable[[tuple[StreamTimer, int]], None] = _dropped.append,
    clock: Callable[[], int] = monotonic_ns,
) -> None:
    timer = self._timer
    if timer.outcome is None:
        note((timer, clock()))
