"""Calling a function of unknown kind from a coroutine: coroutine functions here, plain ones in a thread of their own.

The thread carries the caller's context, so spans in it find their parent. A thread cannot be stopped: when the caller
is cancelled or runs into its timeout, it goes on, unheard, and does not keep the process from ending.

Cost: about 100 us for a plain function, nothing for a coroutine function.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Also for partials, and objects with an asynchronous `__call__`."""
    return iscoroutinefunction(function) or iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


async def invoke(function: Callable[..., Any], *args: Any) -> Any:
    """The result of *function*; where that is awaitable, it is awaited here."""
    if is_coroutine_function(function):
        return await function(*args)
    result = await _in_thread(partial(function, *args))
    return await result if isawaitable(result) else result


async def _in_thread(call: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        result, failure = None, None
        try:
            result = context.run(call)
        except BaseException as error:  # raised again in the caller's task
            failure = error
        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(_settle, ended, (result, failure))

    threading.Thread(target=work, name="otel-latency-call", daemon=True).start()
    result, failure = await ended
    if failure is not None:
        raise failure
    return result


def _settle(ended: asyncio.Future[Any], outcome: object) -> None:
    if not ended.done():
        ended.set_result(outcome)
