"""Trying again, by stamina: what is transient, up to three times, after 1-2, 2-4 and 4-8 seconds or as the server asks.

`run()` and the decorator `retry` share one schedule. The exception that ends a call is the function's own object, and a
cancellation is never retried. stamina's hooks (its log line, its Prometheus counter) see the reason of a failure and
never the failure itself, whose text may quote a prompt.

Cost: about 15 us for a call that succeeds at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Final, NamedTuple, NoReturn, ParamSpec, TypeVar, cast, overload

import stamina
from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from otel_latency import semconv
from otel_latency.instrument.callbacks import tell
from otel_latency.instrument.context import current
from otel_latency.instrument.failures import Failure, classify
from otel_latency.instrument.llm import LLMCall

P = ParamSpec("P")
T = TypeVar("T")

RETRIES: Final = 3
log = logging.getLogger("otel_latency")
# stamina tells of each retry as well, to whoever listens: not on the stderr of a program that has no logging set up.
logging.getLogger("stamina").addHandler(logging.NullHandler())


class Retry(NamedTuple):
    """What `on_retry` is told: retry *attempt* of *max_attempts* begins in *delay* seconds, because of *reason*."""

    operation: str
    attempt: int
    max_attempts: int
    reason: str
    delay: float

    def __str__(self) -> str:
        return f"{self.operation} retry {self.attempt}/{self.max_attempts} due to {self.reason}, in {self.delay:.1f} s"


def schedule(attempt: int, uniform: Callable[[float, float], float] = random.uniform, base: float = 1.0) -> float:
    """Seconds before retry *attempt* (1, 2, 3, ...): 1-2, 2-4, 4-8, ... times *base*, drawn evenly."""
    least = base * 2 ** (attempt - 1)
    return uniform(least, 2 * least)


class Retrying:
    """The retries of one operation; asked by stamina after each failed attempt.

    `allowed` has the last word (a token was shown, the deadline is too near); `notify` hears of each retry.
    """

    def __init__(
        self,
        operation: str,
        retries: int,
        *,
        base: float = 1.0,
        allowed: Callable[[Failure, float], bool] = lambda _failure, _delay: True,
        notify: Callable[[Retry, Failure], None] = lambda _retry, _failure: None,
        now: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.operation = operation
        self.retries = retries
        self.base = base
        self.done = 0
        self._allowed = allowed
        self._notify = notify
        self._now = now
        self._uniform = uniform

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await `function()` until it succeeds, or fails for good."""
        try:
            async for attempt in self._attempts():
                with attempt:
                    try:
                        return await function()
                    except Exception as error:  # judged by `_decide`, raised below
                        raise _Failed(classify(error, self._now()), error) from None
        except _Failed as failed:
            final = failed.error
        return _raise(final)

    def call_blocking(self, function: Callable[[], T]) -> T:
        """`call` for a plain function; waits by sleeping in this thread."""
        try:
            for attempt in self._attempts():
                with attempt:
                    try:
                        return function()
                    except Exception as error:  # judged by `_decide`, raised below
                        raise _Failed(classify(error, self._now()), error) from None
        except _Failed as failed:
            final = failed.error
        return _raise(final)

    def _attempts(self) -> Any:
        return stamina.retry_context(on=self._decide, attempts=self.retries + 1, timeout=None)

    def _decide(self, failed: Exception) -> bool | float:
        """False to give up, or the seconds to wait."""
        if not isinstance(failed, _Failed) or not failed.failure.is_transient or self.done >= self.retries:
            return False
        failure = failed.failure
        delay = failure.retry_after or schedule(self.done + 1, self._uniform, self.base)
        if not self._allowed(failure, delay):
            return False
        self.done += 1
        self._notify(Retry(self.operation, self.done, self.retries, failure.text, delay), failure)
        return delay


class _Failed(Exception):
    """What stamina gets to see of a failed attempt: the reason. It carries the user's own exception home."""

    def __init__(self, failure: Failure, error: Exception) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.error = error


def _raise(error: Exception) -> NoReturn:
    """Raise *error* outside of any handler, so that its `__context__` stays what it was."""
    try:
        raise error
    finally:
        del error  # a frame that holds the error which holds the frame would wait for the garbage collector


@overload
def retry(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def retry(
    *,
    retries: int = RETRIES,
    base_delay: float = 1.0,
    on_retry: Callable[[Retry], object] | None = None,
    operation: str = "",
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def retry(
    function: Callable[P, T] | None = None,
    /,
    *,
    retries: int = RETRIES,
    base_delay: float = 1.0,
    on_retry: Callable[[Retry], object] | None = None,
    operation: str = "",
) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function or coroutine function: transient failures are tried again, each retry logged and told.

    Generators are refused: what they have yielded cannot be taken back.
    """
    if function is None:
        return partial(retry, retries=retries, base_delay=base_delay, on_retry=on_retry, operation=operation)
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise TypeError(
            f"retry: {function.__qualname__} is a generator: decorate the call that opens its stream instead"
        )
    name = operation or getattr(function, "__name__", "operation")

    def retrying() -> Retrying:
        return Retrying(name, retries, base=base_delay, notify=partial(_tell, on_retry))

    if iscoroutinefunction(function):

        @wraps(function)
        async def again(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await retrying().call(partial(function, *args, **kwargs))

        return cast("Callable[P, T]", again)

    @wraps(function)
    def again_blocking(*args: P.args, **kwargs: P.kwargs) -> T:
        return retrying().call_blocking(partial(function, *args, **kwargs))

    return again_blocking


def retry_attributes(retry: Retry, failure: Failure) -> dict[str, AttributeValue]:
    """Of the span event `retry`."""
    return {
        semconv.ATTEMPT: retry.attempt,
        semconv.RETRY_REASON: failure.reason,
        semconv.RETRY_DELAY: retry.delay,
    }


def _tell(on_retry: Callable[[Retry], object] | None, happened: Retry, failure: Failure) -> None:
    trace.get_current_span().add_event("retry", retry_attributes(happened, failure))
    timed = current()
    if isinstance(timed, LLMCall):
        timed.retried(failure.reason)
    log.info("%s", happened)
    tell("on_retry", on_retry, happened)
