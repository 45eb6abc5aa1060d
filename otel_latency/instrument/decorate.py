"""A user's function with a span around each call, of the same kind as before: plain, coroutine or (async) generator.

The span of a generator lasts from its first step to its end. Its context is current during each step and never across
a `yield`: the consumer keeps its own. What is sent, thrown and closed goes through as it came.

One thing differs, as for every wrapper: arguments that do not fit show when a coroutine is awaited or a generator first
stepped, not when it is made.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeVar

from opentelemetry.context import attach, get_current

from otel_latency.errors import StageTimeout
from otel_latency.instrument.span import Timed

Function = TypeVar("Function", bound=Callable[..., Any])


def decorated(function: Any, fresh: Callable[[], Timed]) -> Any:
    """*function* in a span of *fresh* per call."""
    if isinstance(function, staticmethod | classmethod):
        return type(function)(decorated(function.__func__, fresh))
    target = function if inspect.isroutine(function) or isinstance(function, functools.partial) else _call_of(function)
    if inspect.isasyncgenfunction(target):
        return _async_generator(function, fresh)
    if inspect.iscoroutinefunction(target):
        return _coroutine(function, fresh)
    if inspect.isgeneratorfunction(target):
        return _generator(function, fresh)
    return _plain(function, fresh)


def _call_of(function: Any) -> Any:
    """What decides the kind of an object with a `__call__`."""
    return getattr(function, "__call__", function)  # noqa: B004


def _plain(function: Callable[..., Any], fresh: Callable[[], Timed]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return function(*args, **kwargs)

    return timed


def _coroutine(function: Callable[..., Any], fresh: Callable[[], Timed]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        async with fresh():
            return await function(*args, **kwargs)

    return timed


def _generator(function: Callable[..., Any], fresh: Callable[[], Timed]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        inner: Generator[Any, Any, Any] = function(*args, **kwargs)
        steps = Steps(inner, fresh())
        resume: Callable[[], Any] = inner.__next__
        while True:
            try:
                value = steps.step(resume)
            except StopIteration as end:
                return end.value
            finally:
                del resume  # may hold the exception whose traceback holds this frame
            try:
                sent = yield value
            except BaseException as thrown:  # GeneratorExit too: the inner generator may refuse it
                resume = functools.partial(inner.throw, thrown)
            else:
                resume = functools.partial(inner.send, sent)

    return timed


def _async_generator(function: Callable[..., Any], fresh: Callable[[], Timed]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        inner: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        steps = AsyncSteps(fresh())
        resume: Callable[[], Awaitable[Any]] = inner.__anext__
        while True:
            try:
                value = await steps.step(resume)
            except StopAsyncIteration:
                return
            finally:
                del resume
            try:
                sent = yield value
            except BaseException as thrown:
                resume = functools.partial(inner.athrow, thrown)
            else:
                resume = functools.partial(inner.asend, sent)

    return timed


class Inside:
    """The context as the generator's body left it at its last `yield`, made current around each step."""

    def __init__(self, work: Timed) -> None:
        outside = get_current()
        work.__enter__()
        self._inside = get_current()
        attach(outside)

    def __enter__(self) -> None:
        self._outside = get_current()
        attach(self._inside)

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        self._inside = get_current()
        attach(self._outside)


class Steps:
    """The steps of a generator; one that ends later than the timeout of the whole is the last."""

    def __init__(self, generator: Generator[Any, Any, Any], work: Timed) -> None:
        self._generator = generator
        self._work = work
        self._inside = Inside(work)

    def step(self, resume: Callable[[], Any]) -> Any:
        work = self._work
        with self._inside:
            try:
                value = resume()
            except StopIteration as end:
                late = work.overdue()
                work.close(late or end)
                if late is None:
                    raise
            except BaseException as failure:
                work.close(failure)
                raise
            else:
                late = work.overdue()
                if late is None:
                    return value
                self._close(late)
            finally:
                del resume
        raise late

    def _close(self, late: StageTimeout) -> None:
        try:
            self._generator.close()
        finally:
            self._work.close(late)


class AsyncSteps:
    """The steps of an async generator; one that reaches the timeout of the whole is cancelled."""

    def __init__(self, work: Timed) -> None:
        self._work = work
        self._inside = Inside(work)

    async def step(self, resume: Callable[[], Awaitable[Any]]) -> Any:
        with self._inside:
            try:
                return await (resume() if self._work.timeout is None else self._in_time(resume))
            except BaseException as failure:
                self._work.close(failure)
                raise
            finally:
                del resume

    async def _in_time(self, resume: Callable[[], Awaitable[Any]]) -> Any:
        remaining = (self._work.timeout or 0.0) - self._work.elapsed
        deadline = asyncio.timeout(remaining)
        try:
            async with deadline:
                return await resume()
        except TimeoutError as ours:
            if not deadline.expired():
                raise  # the user's own
            raise self._work.late() from ours.__cause__
        finally:
            del resume
