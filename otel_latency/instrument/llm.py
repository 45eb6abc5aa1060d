"""A call of a model: a stage of kind CLIENT with OpenTelemetry's `gen_ai.*` attributes.

What the model is asked and what it answers is neither read nor kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Self, TypeVar

from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument.attributes import carried
from otel_latency.instrument.guard import guard
from otel_latency.instrument.span import ERROR_TYPE, After, Timed
from otel_latency.instrument.usage import Source, Tally

if TYPE_CHECKING:
    from otel_latency.instrument.stream import Classify, Outcome, StreamTimer

Stream = TypeVar("Stream")

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
STREAMED: Final = "gen_ai.request.stream"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE: Final = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cost_usd": "gen_ai.usage.cost.amount",
}
TRUNCATED: Final = "stream_truncated"
"""The `error.type` of a call whose stream stopped before its end, without an error."""
CURRENCY: Final = "gen_ai.usage.cost.currency"


class LLMCall(Timed):
    """Times a model call, as a decorator, in `with` or in `async with`. *budget* and *timeout* are those of a stage.

    *task* is what the user calls it; *provider* is OpenTelemetry's name of who serves the model. *input_tokens* is
    what the caller expects to send; `usage` replaces it by what was billed.
    """

    __slots__ = ("_input_tokens", "_tally", "_timers", "model", "operation", "provider", "retries", "task")

    kind: ClassVar[SpanKind] = SpanKind.CLIENT
    word: ClassVar[str] = "llm"
    is_always_kept: ClassVar[bool] = True

    def __init__(
        self,
        task: str,
        /,
        *,
        provider: str,
        model: str | None = None,
        input_tokens: int | None = None,
        budget: float | None = None,
        timeout: float | None = None,
        operation: str = "chat",
        after: After | list[After] | None = None,
        **attributes: AttributeValue | None,
    ) -> None:
        self.task = task
        self.provider = provider
        self.model = model
        self.operation = operation
        self._input_tokens = input_tokens
        self._timers: list[StreamTimer] = []
        self._tally = Tally(input_tokens)
        self.retries: Counter[str] | None = None
        """How many for which reason; None while there is none."""
        what = {
            semconv.STAGE: "llm",
            semconv.TASK: task,
            OPERATION: operation,
            PROVIDER: provider,
            MODEL: model,
            USAGE["input_tokens"]: input_tokens,
        }
        super().__init__(task, budget, timeout, after, carried({**attributes, **what}))

    def fresh(self) -> Self:
        twin = super().fresh()
        twin.task, twin.provider, twin.model, twin.operation = self.task, self.provider, self.model, self.operation
        twin._input_tokens = self._input_tokens
        twin._timers = []
        twin._tally = Tally(self._input_tokens)
        twin.retries = None
        return twin

    def _span_name(self) -> str:
        return f"{self.operation} {self.model}" if self.model else self.operation

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """What the provider counted. Input includes cached tokens, output includes reasoning; None is unknown.

        Counts of several responses add up (a tool loop in one call): a count that was told before is the next
        response's. While a stream is being read it is that stream's count so far, and replaces what was told of it.
        What is told here goes before what streams and clients count by themselves.
        """
        said = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_read_tokens": cache_read_tokens,
            "cache_write_tokens": cache_write_tokens,
            "reasoning_tokens": reasoning_tokens,
            "cost_usd": cost_usd,
        }
        known = {name: value for name, value in said.items() if isinstance(value, int | float)}
        if self.is_open and known:
            self._tally.say(known, is_running=any(timer.outcome is None for timer in self._timers))
            self._show_counts()

    def count(self, counts: Mapping[str, float], source: Source) -> None:
        """One response's counts, as *source* has them."""
        if self.is_open and counts:
            self._tally.add(counts, source)
            self._show_counts()

    @property
    def tokens(self) -> dict[str, float]:
        """What is known of the counts by now, and `cost_usd`."""
        return self._tally.totals()

    def _show_counts(self) -> None:
        known = self.tokens
        self.settle({USAGE[name]: value for name, value in known.items()})
        if "cost_usd" in known:
            self.settle({CURRENCY: "USD"})

    def retried(self, reason: str) -> None:
        """Count a retry of the call; *reason* is a key of `semconv.RETRY_REASONS`."""
        if self.retries is None:
            self.retries = Counter()
        self.retries[reason] += 1
        self.settle({semconv.RETRIES: self.retries.total(), semconv.RETRY_REASONS[reason]: self.retries[reason]})

    def stream(self, stream: Stream, *, classify: Classify | None = None, source: Source = Source.STREAM) -> Stream:
        """*stream*, unchanged in what it yields, raises and when; its chunks are stamped as they pass.

        One that stops without the last chunk of its protocol makes the call's status `error` (`stream_truncated`): the
        answer is cut off, though nothing was raised. One that reached its limit of tokens ended well.

        *classify* says what a chunk is where its shape does not; see `otel_latency.instrument.stream`. Several streams
        may follow each other: milestones are the first one's, what tells of the flow is the last one's.
        """
        try:
            from otel_latency.instrument.stream import StreamTimer

            self.settle({STREAMED: True})
            self._tally.next_stream()
            timer = StreamTimer(self, classify=classify, source=source, on_end=self.stream_ended)
            self._timers.append(timer)
            return timer.watch(stream)
        except Exception as fault:
            guard.caught("stream", fault)
            return stream

    def stream_ended(self, outcome: Outcome, _failure: BaseException | None, _at: int) -> None:
        """A stream that stops without the last chunk of its protocol raises nothing, and yet the answer is cut off."""
        if outcome == "truncated" and self.is_open and self.status == "ok":
            self.status = "error"
            self.settle({ERROR_TYPE: TRUNCATED})
            self.span.set_status(StatusCode.ERROR)

    def close(self, failure: BaseException | None = None, *, at: int | None = None) -> None:
        """End the span, and before that the timing of streams that were not read to their end."""
        was_open = self.is_open
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.abandon(failure)
        super().close(failure, at=at)
        if was_open:
            try:
                self._remember(failure)
            except Exception as fault:
                guard.caught("history", fault)

    def _remember(self, failure: BaseException | None) -> None:
        """Let later estimates know what it took."""
        from otel_latency.instrument.history import remember

        remember(self, failure)

    def _settle_milestones(self, milestones: Mapping[str, int]) -> None:
        super()._settle_milestones(milestones)
        if "first_chunk" in milestones:
            self.settle({FIRST_CHUNK: max(milestones["first_chunk"] - self.start_monotonic_ns, 0) / 1e9})

    def labels(self) -> dict[str, AttributeValue]:
        what = {semconv.STAGE: "llm", semconv.TASK: self.task, PROVIDER: self.provider, MODEL: self.model}
        return carried(what)


llm_call: Final = LLMCall
