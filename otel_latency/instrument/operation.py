"""The operation context: one LLM operation with timeout, progress, retries, circuit breaker and a recorded outcome.

    script = await latency.run(draft_script, task="script_generation", provider="openai", input_tokens=500)

In this order: a provider whose circuit is open raises `CircuitOpen` at once; a rate limit is waited for, as a stage of
its own; then the call begins, with its timeout (`timeouts`), and covers all attempts. Every 5 s there is progress, and
one warning when half of the timeout is over. However it ends, the outcome is recorded (history, span, log), and the
caller gets the function's own result or its own exception; a timeout is `StageTimeout`. The times are those of the
event loop.

Cost: about 0.3 ms an operation.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Final, Required, TypedDict, TypeVar, TypeVarTuple, Unpack, overload

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.errors import CircuitOpen, StageTimeout
from otel_latency.instrument.breaker import breakers
from otel_latency.instrument.callbacks import tell
from otel_latency.instrument.failures import Failure, classify
from otel_latency.instrument.guard import guard
from otel_latency.instrument.history import Outcome, history, outcome_of
from otel_latency.instrument.invoke import invoke
from otel_latency.instrument.limiter import Reservation, limits
from otel_latency.instrument.llm import PROVIDER, LLMCall
from otel_latency.instrument.progress import Progress, current_job, jobs
from otel_latency.instrument.retry import RETRIES, Retry, Retrying, retry_attributes
from otel_latency.instrument.stage import Stage
from otel_latency.instrument.timeouts import WARN_AT, timeouts
from otel_latency.instrument.tracker import current_tracker
from otel_latency.predict.estimate import Estimate

T = TypeVar("T")
Args = TypeVarTuple("Args")

PROGRESS_INTERVAL: Final = 5.0

log = logging.getLogger("otel_latency")


class RunOptions(TypedDict, total=False):
    """The options of `run`, for type checkers; it tells what they mean."""

    task: Required[str]
    provider: Required[str]
    model: str | None
    input_tokens: int | None
    timeout: float | None
    retries: int
    on_progress: Callable[[Progress], object] | None
    on_warning: Callable[[Progress], object] | None
    on_retry: Callable[[Retry], object] | None
    job_id: str | None
    progress_interval: float
    retry_base_delay: float


@overload
async def run(function: Callable[[*Args], Awaitable[T]], /, *args: *Args, **options: Unpack[RunOptions]) -> T: ...
@overload
async def run(function: Callable[[*Args], T], /, *args: *Args, **options: Unpack[RunOptions]) -> T: ...
async def run(
    function: Callable[[*Args], Any],
    /,
    *args: *Args,
    task: str,
    provider: str,
    model: str | None = None,
    input_tokens: int | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - it can be extended while the operation runs
    retries: int = RETRIES,
    on_progress: Callable[[Progress], object] | None = None,
    on_warning: Callable[[Progress], object] | None = None,
    on_retry: Callable[[Retry], object] | None = None,
    job_id: str | None = None,
    progress_interval: float = PROGRESS_INTERVAL,
    retry_base_delay: float = 1.0,
) -> Any:
    """The result of `function(*args)`, a coroutine function or a plain one (which gets a thread of its own).

    *timeout* is seconds for all attempts together; without it the task's (`set_timeouts`), and `math.inf` is none.
    *on_progress* hears every *progress_interval* seconds and of the warning, *on_warning* of the warning only. *job_id*
    is the id under which `progress_events` tells a web client.
    """
    operation = Operation(
        task=task,
        provider=provider,
        model=model,
        input_tokens=input_tokens,
        timeout=timeouts.of(task) if timeout is None else timeout,
        retries=retries,
        retry_base_delay=retry_base_delay,
        on_progress=on_progress,
        on_warning=on_warning,
        on_retry=on_retry,
        job_id=current_job.get() if job_id is None else job_id,
        progress_interval=progress_interval,
    )
    outer = _current.get()
    _current.set(operation)
    try:
        with nullcontext() if operation.job_id is None else jobs.hold(operation.job_id):
            return await operation.execute(partial(invoke, function, *args))
    finally:
        _current.set(outer)


@overload
def run_sync(function: Callable[[*Args], Awaitable[T]], /, *args: *Args, **options: Unpack[RunOptions]) -> T: ...
@overload
def run_sync(function: Callable[[*Args], T], /, *args: *Args, **options: Unpack[RunOptions]) -> T: ...
def run_sync(function: Callable[[*Args], Any], /, *args: *Args, **options: Unpack[RunOptions]) -> Any:
    """`run` for programs without an event loop; *options* are those of `run`.

    Called inside of a running loop, as in a notebook, it works in a thread of its own while that loop waits.
    """

    def work() -> Any:
        with asyncio.Runner() as runner:
            return runner.run(run(function, *args, **options))

    if _is_in_loop():
        with ThreadPoolExecutor(1, "otel-latency-run") as thread:
            return thread.submit(copy_context().run, work).result()
    return work()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def current_operation() -> Operation | None:
    """The operation that the caller works for, to extend its timeout or to time its stream."""
    return _current.get()


class Operation:
    """One `run()`. `call` is its span: `.stream(...)`, `.usage(...)`, `.milestone(...)`."""

    def __init__(
        self,
        *,
        task: str,
        provider: str,
        model: str | None,
        input_tokens: int | None,
        timeout: float | None,
        retries: int,
        retry_base_delay: float,
        on_progress: Callable[[Progress], object] | None,
        on_warning: Callable[[Progress], object] | None,
        on_retry: Callable[[Retry], object] | None,
        job_id: str | None,
        progress_interval: float,
    ) -> None:
        self.task = task
        self.provider = provider
        self.job_id = job_id
        self.is_warning = False
        self.estimate: Estimate = history.estimate(task, provider=provider, model=model, input_tokens=input_tokens)
        limit = None if timeout is None or math.isinf(timeout) else timeout
        self.call: LLMCall = _Call(task, provider=provider, model=model, input_tokens=input_tokens, timeout=limit)
        self.call.estimate = self.estimate.seconds
        self._on_progress = on_progress
        self._on_warning = on_warning
        self._on_retry = on_retry
        self._interval = progress_interval
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._breaker = breakers.of(provider)
        self._limiter = limits.of(provider)
        self._reservation: Reservation | None = None
        self._failure: Failure | None = None
        self._was_cut_off = False
        self._retrying = Retrying(
            task, retries, base=retry_base_delay, allowed=self._may_retry, notify=self._will_retry
        )

    # --- what a caller may ask and do ----------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since the call began."""
        return self._loop.time() - self._started

    @property
    def timeout(self) -> float | None:
        return self.call.timeout

    @property
    def retries(self) -> int:
        """Retries so far."""
        return self._retrying.done

    def extend(self, seconds: float) -> None:
        """Allow *seconds* more than the timeout says; from any thread."""
        self._loop.call_soon_threadsafe(self.call.extend, seconds)

    def progress(self, status: str = "running", message: str = "") -> Progress:
        """How it stands now."""
        elapsed = self.elapsed
        return Progress(
            task=self.task,
            elapsed=elapsed,
            estimate=self.estimate.seconds,
            remaining=0.0 if status == "ok" else self.estimate.remaining(elapsed).seconds,
            message=message or self._message(elapsed),
            is_warning=self.is_warning,
            status=status,
            job_id=self.job_id,
            timeout=self.timeout,
        )

    def _message(self, elapsed: float) -> str:
        if self.is_warning:
            return f"{self.task} is taking longer than usual... ({elapsed:.0f} s elapsed)"
        if elapsed > self.estimate.high:
            left = self.estimate.remaining(elapsed)
            return f"{self.task} takes longer than 9 in 10 before it: likely {left.range_text} more"
        return f"{self.task}: {self.estimate.text}" + (f", {elapsed:.0f} s elapsed" if elapsed >= 1 else "")

    # --- the order of events -------------------------------------------------------------------------------------

    async def execute(self, function: Callable[[], Any]) -> Any:
        """Admission, then the call with all its attempts, then the record."""
        await self._admit()
        self._started = self._loop.time()
        jobs.publish(self.progress())
        failure: BaseException | None = None
        try:
            async with self.call:
                watch = self._loop.create_task(self._watch(), name=f"otel-latency-progress:{self.task}")
                try:
                    return await self._retrying.call(partial(self._attempt, function))
                finally:
                    watch.cancel()
                    self._annotate()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._ended(failure)
            del failure  # it holds this frame

    async def _admit(self) -> None:
        """Wait until the provider may be called, or raise `CircuitOpen`."""
        try:
            self._breaker.enter()
        except CircuitOpen:
            trace.get_current_span().add_event("circuit_open", {PROVIDER: self.provider})
            jobs.publish(self.progress("error", f"{self.provider} is not available at the moment"))
            raise
        if self._limiter is None:
            return
        try:
            async with Stage("rate_limit") as wait:
                wait.describe({PROVIDER: self.provider})
                self._reservation = await self._limiter.acquire(int(self.call.tokens.get("input_tokens", 0)))
        except BaseException:
            self._breaker.abandoned()
            raise

    async def _attempt(self, function: Callable[[], Any]) -> Any:
        if self.retries:
            await self._admit()
        self._say("attempt", {semconv.ATTEMPT: self.retries + 1})
        try:
            result = await function()
        except Exception as error:
            self._failed(error)
            raise
        except BaseException:
            self._breaker.abandoned()
            self._was_cut_off = True
            raise
        self._failure = None
        self._breaker.succeeded()
        return result

    def _failed(self, error: Exception) -> None:
        """What a failed attempt says about the provider."""
        failure = self._failure = classify(error, time.time())
        if failure.is_provider_fault:
            self._breaker.failed(error)
        elif failure.status is not None:
            self._breaker.succeeded()  # it refused the request, so it is there
        else:
            self._breaker.abandoned()
        if self._limiter is not None and failure.retry_after:
            self._limiter.pause(failure.retry_after)

    def _may_retry(self, _failure: Failure, delay: float) -> bool:
        """Not once the user has seen a token, while the circuit is open, or when the timeout is over before."""
        is_shown = "first_token" in (self.call.milestones or ())
        is_late = self.timeout is not None and self.elapsed + delay >= self.timeout
        return not (is_shown or is_late or self._breaker.state == "open")

    def _will_retry(self, retry: Retry, failure: Failure) -> None:
        self._say("retry", retry_attributes(retry, failure))
        self.call.retried(failure.reason)
        log.info(
            "LLM operation: %s %s retry %d/%d due to %s, waiting %.1f s",
            *(self.provider, self.task, retry.attempt, retry.max_attempts, retry.reason, retry.delay),
        )
        if (tracker := current_tracker.get()) is not None:
            tracker.retry()
        tell("on_retry", self._on_retry, retry)

    def _say(self, event: str, attributes: Mapping[str, AttributeValue]) -> None:
        self.call.span.add_event(event, attributes)

    # --- while it runs -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Progress on a fixed grid; the warning at its share of the timeout as it is by then."""
        next_progress = self._interval
        while True:
            warn_at = math.inf if self.is_warning or self.timeout is None else self.timeout * WARN_AT
            await asyncio.sleep(max(0.0, min(next_progress, warn_at) - self.elapsed))
            if not self.is_warning and self.timeout is not None and self.elapsed >= self.timeout * WARN_AT:
                self._warn(self.timeout)
            elif self.elapsed >= next_progress:
                self._report()
            while next_progress <= self.elapsed:
                next_progress += self._interval

    def _warn(self, timeout: float) -> None:
        self.is_warning = True
        elapsed = self.elapsed
        log.warning(
            "LLM operation: %s %s is taking longer than usual (%.0f s / %.0f s, %.0f %%)",
            *(self.provider, self.task, elapsed, timeout, 100 * elapsed / timeout),
        )
        tell("on_warning", self._on_warning, self._report())

    def _report(self) -> Progress:
        progress = self.progress()
        jobs.publish(progress)
        tell("on_progress", self._on_progress, progress)
        return progress

    # --- at the end ----------------------------------------------------------------------------------------------

    def _annotate(self) -> None:
        """What the span says about the whole of it."""
        category = None if self._failure is None else self._failure.category
        if self.call.retries is None:
            self.call.describe({semconv.RETRIES: 0})
        self.call.describe({semconv.ERROR_CATEGORY: category})

    def _ended(self, error: BaseException | None) -> None:
        """Record the outcome; a fault of ours in here must not replace the caller's result."""
        try:
            outcome = outcome_of(self.call, error, self.elapsed, self.retries)
            history.record(outcome)
            if self._was_cut_off and isinstance(error, StageTimeout):
                self._breaker.failed(error)
            self._settle()
            _log_end(outcome)
            if (tracker := current_tracker.get()) is not None and outcome.category:
                tracker.error(outcome.category)
            jobs.publish(self.progress(outcome.status, _end_text(outcome)))
        except Exception as fault:
            guard.caught("operation", fault)

    def _settle(self) -> None:
        """Let the rate limit know the tokens that were really used."""
        if self._reservation is not None and "output_tokens" in self.call.tokens:
            tokens = self.call.tokens
            self._reservation.settle(int(tokens.get("input_tokens", 0) + tokens["output_tokens"]))


_current: Final[ContextVar[Operation | None]] = ContextVar("otel_latency_operation", default=None)


class _Call(LLMCall):
    """The span of an operation, which records itself, with its retries."""

    __slots__ = ()

    def _remember(self, failure: BaseException | None) -> None:
        """Not here."""


def _end_text(outcome: Outcome) -> str:
    if outcome.status == "ok":
        return f"{outcome.task} completed in {outcome.seconds:.1f} s"
    return f"{outcome.task} ended after {outcome.seconds:.1f} s: {outcome.status}"


def _log_end(outcome: Outcome) -> None:
    """One line for people, and at DEBUG one JSON record."""
    said = f"tokens: {outcome.input_tokens or 0}, retries: {outcome.retries}"
    if outcome.status == "ok":
        text = f"completed in {outcome.seconds * 1000:.0f} ms ({said})"
    else:
        text = f"ended after {outcome.seconds * 1000:.0f} ms: {outcome.status} ({outcome.error_type}, {said})"
    level = logging.INFO if outcome.status in ("ok", "cancelled") else logging.WARNING
    log.log(level, "LLM operation: %s %s %s", outcome.provider, outcome.task, text)
    if log.isEnabledFor(logging.DEBUG):
        log.debug("LLM operation record: %s", json.dumps(outcome._asdict(), separators=(",", ":")))
