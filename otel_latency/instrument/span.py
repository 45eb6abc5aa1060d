"""One timed piece of work: a turn, a stage or an LLM call, as a decorator, in `with` and in `async with`.

Guarantees. Every entry is a span of its own, so one object serves recursion, threads and a thousand tasks at once. The
span's length comes from the monotonic clock; all spans of a turn share one reading of the wall clock. Values,
exceptions and their order are the user's own. The only thing of ours that is ever raised is `StageTimeout`, where a
timeout was asked for:

- `async with` and decorated coroutines are cancelled at the timeout, as `asyncio.timeout` does it: a cancellation from
  outside stays a cancellation.
- A decorated async generator is cancelled likewise, in the step that reaches the timeout.
- Synchronous work cannot be interrupted. It runs to its end, and then StageTimeout is raised in place of its result;
  an exception of its own goes first. A generator raises at the end of the step that was too late.

`otel_latency.status` is written unless the work ended well. An exception is recorded by its type alone: its text may
quote a prompt or a key.

What the library finds out while the work runs (milestones, counts of tokens, the status) becomes attributes in one go,
when the span ends.

Cost: about 1.1 of a raw SDK span, 0.7 under the provider that `configure` installs; less than the API's no-op span
when no provider is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, cast

from opentelemetry import baggage
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.errors import StageTimeout
from otel_latency.instrument import subscribe
from otel_latency.instrument.attributes import carried, seconds
from otel_latency.instrument.context import CURRENT, behind_drift, entered, leave, place
from otel_latency.instrument.guard import guard
from otel_latency.instrument.runtime import MAX_OPEN, runtime

if TYPE_CHECKING:
    from otel_latency.instrument.turn import Turn

After = tuple["Timed", str]
Function = TypeVar("Function", bound=Callable[..., Any])

ERROR_TYPE: Final = "error.type"
CARRIED: Final = (semconv.SESSION, semconv.REQUEST_ID)
"""What travels in baggage. Nothing else of a foreign baggage is read."""


class Timed:
    """What `stage`, `turn` and `llm_call` have in common. Methods are harmless before the start and after the end."""

    __slots__ = (
        "_after",
        "_attributes",
        "_deadline",
        "_epoch_ns",
        "_forks",
        "_is_used",
        "_others",
        "_own",
        "_settled",
        "_token",
        "_turn",
        "budget",
        "end_monotonic_ns",
        "estimate",
        "is_adrift",
        "is_open",
        "milestones",
        "name",
        "outer",
        "span",
        "start_monotonic_ns",
        "status",
        "timeout",
    )

    kind: ClassVar[SpanKind] = SpanKind.INTERNAL
    word: ClassVar[str] = "stage"
    is_always_kept: ClassVar[bool] = False
    """Whether it is current, and told to subscribers, even while no provider records it."""
    is_anchor: ClassVar[bool] = False
    """Whether it reads the wall clock anew."""

    def __init__(
        self,
        name: str,
        budget: float | None,
        timeout: float | None,
        after: After | list[After] | None,
        attributes: dict[str, AttributeValue] | None,
    ) -> None:
        self.name = name
        self.budget = budget
        self.timeout = timeout
        self._after = after
        self._attributes = attributes
        if budget is not None or timeout is not None:
            self._set_limits(budget, timeout)
        self._unused()

    def _unused(self) -> None:
        self._is_used = self.is_open = False
        self._others: list[Self] | None = None
        self.span: Span = INVALID_SPAN
        self._turn: Turn | None = None
        self.status = "ok"
        self._settled: dict[str, AttributeValue] | None = None
        """Attributes to be written at the end; None while there are none."""
        self.milestones: dict[str, int] | None = None
        """Milestone -> monotonic nanoseconds; None while there is none."""
        self.estimate: float | None = None
        """Expected seconds, told in the reports about running operations."""
        self.is_adrift = False
        self.outer: Context | None = None
        self._own: Context | None = None
        self._deadline: asyncio.Timeout | None = None
        self.start_monotonic_ns = self.end_monotonic_ns = self._epoch_ns = 0

    def _set_limits(self, budget: float | None, timeout: float | None) -> None:
        self.budget, self.timeout = seconds(budget), seconds(timeout)
        limits = {semconv.BUDGET: self.budget, semconv.TIMEOUT: self.timeout}
        self._attributes = {**(self._attributes or {}), **carried(limits)}

    # --- three ways in -----------------------------------------------------------------------------------------

    def __call__(self, function: Function) -> Function:
        """*function*, each call of which is timed. Kind, signature and laziness stay as they are."""
        from otel_latency.instrument.decorate import decorated

        return cast("Function", decorated(function, self.fresh))

    def __enter__(self) -> Self:
        # Nothing between the question and the answer can switch threads.
        if self._is_used:
            return self._beside()
        self._is_used = self.is_open = True
        try:
            self._begin()
        except Exception as fault:
            guard.caught("start", fault)
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        mine = self._leaving() if self._others else self
        late = mine.overdue() if failure is None and mine.timeout is not None else None
        mine.close(failure or late)
        if late is not None:
            raise late

    async def __aenter__(self) -> Self:
        mine = self.__enter__()
        if mine.timeout is not None:
            try:
                deadline = asyncio.timeout(mine.timeout)
                await deadline.__aenter__()
                mine._deadline = deadline
            except RuntimeError:  # no task of asyncio's: the rule for synchronous work holds
                guard.complain("deadline", "a timeout cannot interrupt: there is no asyncio task")
        return mine

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine = self._leaving() if self._others else self
        deadline = mine._deadline
        if deadline is None:
            mine.__exit__(kind, failure, trace)
            return
        try:
            await deadline.__aexit__(kind, failure, trace)
        except TimeoutError:
            late = mine.late()
            mine.close(late)
            raise late from failure
        mine.close(failure)

    def fresh(self) -> Self:
        """Another of the same, not yet entered."""
        twin = object.__new__(type(self))
        twin.name, twin.budget, twin.timeout = self.name, self.budget, self.timeout
        twin._after, twin._attributes = self._after, self._attributes
        twin._unused()
        return twin

    def _beside(self) -> Self:
        """Enter once more. What still refers to an earlier entry (a task it left behind) must not meet this one."""
        twin = self.fresh()
        if self._others is None:
            self._others = []
        self._others.append(twin)
        return twin.__enter__()

    def _leaving(self) -> Self:
        """Of the entries of this one object, the one whose block ends here: the context tells."""
        others = self._others or []
        here = get_current()
        for one in (*reversed(others), self):
            if one.is_open and one._own is here:
                break
        else:
            one = self if self.is_open else others[-1]
        if one is not self:
            others.remove(one)
        return one

    # --- start and end -----------------------------------------------------------------------------------------

    def _begin(self, started_at: int | None = None) -> None:
        outer = get_current()
        around: Timed | None = outer.get(CURRENT)  # type: ignore[assignment]
        if around is not None and around.is_adrift:
            outer = behind_drift(outer)
            around = outer.get(CURRENT)  # type: ignore[assignment]
        self.start_monotonic_ns = now = monotonic_ns() if started_at is None else started_at
        self._epoch_ns = time_ns() - monotonic_ns() if around is None or self.is_anchor else around._epoch_ns
        if around is not None:
            self._turn = around.turn
        self.span = span = runtime.tracer.start_span(
            self._span_name(),
            outer,
            self.kind,
            self._attributes,
            self._links() if self._after else None,
            self._epoch_ns + now,
            False,
            False,
        )
        if span is INVALID_SPAN and not (self.is_always_kept or subscribe.callbacks):
            return
        self._forks = runtime.forks
        self.outer = outer
        self._own = own = self._context(outer, span)
        attach(own)
        self._token = place.set(None)
        if around is None:
            self._inherit(outer)
        if runtime.is_watching and len(runtime.open) < MAX_OPEN:
            runtime.open[id(self)] = self

    def close(self, failure: BaseException | None = None, *, at: int | None = None) -> None:
        """End the span; *failure* is what ended the work, *at* a moment of the monotonic clock in nanoseconds."""
        if not self.is_open:
            return
        self.end_monotonic_ns = end = monotonic_ns() if at is None else at
        self.is_open = False
        own = self._own
        if own is None:
            return
        # A context refers to its span: the pair would be left to the garbage collector.
        self._own = None
        try:
            leave(self, own, self._token)
            if runtime.is_watching:
                runtime.open.pop(id(self), None)
            if self._forks != runtime.forks:
                return  # begun before a fork: the parent ends it
            self._settle_all(failure)
            self.span.end(self._epoch_ns + end)
            if subscribe.callbacks:
                self._tell()
        except Exception as fault:
            guard.caught("end", fault)

    def _span_name(self) -> str:
        return self.name

    def _context(self, outer: Context, span: Span) -> Context:
        """What is current within."""
        return entered(outer, span, self)

    def _settle_all(self, failure: BaseException | None) -> None:
        """Write what is known only now."""
        if failure is not None:
            self._fail(failure)
        if self.status != "ok":
            self.settle({semconv.STATUS: self.status})
        if self.budget is not None and (self.end_monotonic_ns - self.start_monotonic_ns) > self.budget * 1e9:
            self.settle({semconv.OVER_BUDGET: True})
        if self.milestones:
            self._settle_milestones(self.milestones)
        if self._settled:
            self.span.set_attributes(self._settled)

    def _settle_milestones(self, milestones: Mapping[str, int]) -> None:
        start = self.start_monotonic_ns
        self.settle(
            {
                semconv.MILESTONES[name]: max(moment - start, 0) / 1e9
                for name, moment in milestones.items()
                if name in semconv.MILESTONES
            }
        )

    def _tell(self) -> None:
        subscribe.publish(f"{self.word}_completed", self)

    def _links(self) -> list[Link]:
        after: Any = self._after
        try:
            pairs = [after] if isinstance(after[0], Timed) else after
            return [Link(one.span_context, {semconv.AFTER: milestone}) for one, milestone in pairs]
        except Exception as fault:
            guard.caught("after", fault)
            return []

    def _inherit(self, outer: Context) -> None:
        """Session and request id of the process that called us."""
        if self.span.is_recording():
            for key in CARRIED:
                value = baggage.get_baggage(key, outer)
                if isinstance(value, str):
                    self.span.set_attribute(key, value)

    def _fail(self, failure: BaseException) -> None:
        status = status_of(failure)
        if self.status == "ok":
            self.status = status
        if status in ("error", "timeout"):
            self.settle({ERROR_TYPE: type_name(failure)})
            self.span.set_status(StatusCode.ERROR)

    def late(self) -> StageTimeout:
        """What to raise when the timeout has passed."""
        return StageTimeout(f"{self.word} {self.name}", self.timeout or 0.0)

    def overdue(self) -> StageTimeout | None:
        """`late` if the timeout has passed, else None."""
        return self.late() if self.timeout is not None and self.elapsed > self.timeout else None

    # --- what a user says about it ----------------------------------------------------------------------------

    def set(self, **attributes: AttributeValue | None) -> None:
        """Set attributes on the span: text, numbers, booleans, or lists of one of them."""
        self.describe(attributes)

    def describe(self, attributes: Mapping[str, AttributeValue | None]) -> None:
        """`set` for names with dots in them."""
        if not self.is_open:
            return
        try:
            self.span.set_attributes(carried(attributes))
        except Exception as fault:
            guard.caught("set", fault)

    def settle(self, attributes: Mapping[str, AttributeValue]) -> None:
        """`describe` for values of our own: they are written when the span ends, each as it was told last."""
        if self._settled is None:
            self._settled = {}
        self._settled.update(attributes)

    def event(self, name: str, *, at: int | None = None, **attributes: AttributeValue | None) -> None:
        """Add a span event, now or *at* a moment of the monotonic clock in nanoseconds."""
        if not self.is_open:
            return
        try:
            moment = monotonic_ns() if at is None else at
            self.span.add_event(name, carried(attributes), self._epoch_ns + moment)
        except Exception as fault:
            guard.caught("event", fault)

    def milestone(self, name: str, *, at: int | None = None) -> None:
        """A moment worth a name, now or *at* nanoseconds of the monotonic clock. Only the first of each name counts.

        One of `semconv.MILESTONES` becomes an attribute in seconds as well, and the turn's, if it is its first.
        """
        if not self.is_open or self._own is None:
            return
        try:
            moment = monotonic_ns() if at is None else at
            self._reach(name, moment)
            turn = self.turn
            if turn is not None and turn is not self and turn.is_open and name in semconv.MILESTONES:
                turn._reach(name, moment)
        except Exception as fault:
            guard.caught("milestone", fault)

    def _reach(self, name: str, moment: int) -> None:
        if self.milestones is None:
            self.milestones = {}
        elif name in self.milestones:
            return
        self.milestones[name] = moment
        if self.span.is_recording():
            self.span.add_event(name, None, self._epoch_ns + moment)

    def interrupt(self, reason: str = "") -> None:
        """Somebody cut the work short on purpose (barge-in): the status is `interrupted`, however the block ends."""
        if not self.is_open:
            return
        self.status = "interrupted"
        self._note("interrupted", semconv.INTERRUPT_REASON, reason)

    def fallback(self, to: str) -> None:
        """The work went wrong, and *to* stood in for it: another model, a canned answer."""
        self._note("fallback", semconv.FALLBACK, to)

    def _note(self, event: str, attribute: str, value: str) -> None:
        said: dict[str, Any] = {attribute: value} if value else {}
        self.event(event, **said)
        self.describe(said)

    def extend(self, more: float) -> None:
        """Allow *more* seconds than the timeout says. Call it from the event loop that runs the work."""
        if self.timeout is None or not self.is_open:
            return
        self.timeout += more
        self.describe({semconv.TIMEOUT: self.timeout})
        deadline = self._deadline
        when = None if deadline is None else deadline.when()
        if deadline is not None and when is not None and not deadline.expired():
            deadline.reschedule(when + more)

    # --- what it knows ---------------------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since the start, to the end if it has ended; 0 before."""
        if not self.start_monotonic_ns:
            return 0.0
        until = monotonic_ns() if self.is_open else self.end_monotonic_ns
        return (until - self.start_monotonic_ns) / 1e9

    @property
    def span_context(self) -> SpanContext:
        return self.span.get_span_context()

    @property
    def turn(self) -> Turn | None:
        """The turn that this belongs to."""
        return self._turn

    @property
    def own_context(self) -> Context | None:
        """The OpenTelemetry context in which this span is the current one; None before the start and after the end."""
        return self._own

    @property
    def start_time(self) -> float:
        """Unix seconds."""
        return (self._epoch_ns + self.start_monotonic_ns) / 1e9

    def labels(self) -> dict[str, AttributeValue]:
        """What reports about it while it runs call it."""
        return {semconv.STAGE: self.name}


def status_of(failure: BaseException) -> str:
    """One of `semconv.STATUSES` for what ended the work. Running out of items is a way to end well."""
    if isinstance(failure, StopIteration | StopAsyncIteration):
        return "ok"
    name = type(failure).__name__
    if isinstance(failure, TimeoutError) or "timeout" in name.lower():
        return "timeout"
    return "error" if isinstance(failure, Exception) and "Cancelled" not in name else "cancelled"


def type_name(failure: BaseException) -> str:
    """As OpenTelemetry writes `error.type`: with the module, unless it is a builtin."""
    kind = type(failure)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
