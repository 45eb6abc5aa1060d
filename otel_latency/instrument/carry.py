"""The current span, taken along into another thread.

asyncio does this by itself, `asyncio.to_thread` too. Threads and executors do not: wrap what they run in `carry`, or
let `configure(carry_threads=True)` patch `Thread.start` and `ThreadPoolExecutor.submit`. Only OpenTelemetry's context
is carried; other context variables stay what Python makes of them.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry.context import Context, attach, get_current

Args = ParamSpec("Args")
Result = TypeVar("Result")


def carry(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """*function*, to be run elsewhere as part of what is current here and now."""
    return _carried(function, get_current())


def _carried(function: Callable[Args, Result], context: Context) -> Callable[Args, Result]:
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            outside = get_current()
            attach(context)
            try:
                return await function(*args, **kwargs)
            finally:
                attach(outside)

        return cast("Callable[Args, Result]", functools.wraps(function)(awaited))

    @functools.wraps(function)
    def called(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        outside = get_current()
        attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            attach(outside)

    return called


_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit


def patch_threads() -> None:
    """Have every thread and every job of a ThreadPoolExecutor carry the context of where it was started."""
    threading.Thread.start = _carrying_start  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = _carrying_submit  # type: ignore[assignment,method-assign]


def restore_threads() -> None:
    """Undo `patch_threads`, unless somebody else has patched on top of it."""
    if threading.Thread.start is _carrying_start:
        threading.Thread.start = _start  # type: ignore[method-assign]
    if ThreadPoolExecutor.submit is _carrying_submit:
        ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign]


@functools.wraps(_start)
def _carrying_start(self: threading.Thread) -> None:
    if get_current():
        self.run = carry(self.run)  # type: ignore[method-assign]
    _start(self)


def _carrying_submit(
    self: ThreadPoolExecutor, function: Callable[..., Result], /, *args: Any, **kwargs: Any
) -> Future[Result]:
    # Also with nothing to carry: the pool's thread may have been started within another turn.
    return _submit(self, carry(function), *args, **kwargs)
