"""Calling back into the user's code: what a callback raises is counted and logged, and never reaches the operation.

A callback runs where the event happens, so it should be quick; a coroutine function is started as a task of the
running loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from typing import Any, Final

from otel_latency.instrument.guard import guard

_running: Final[set[asyncio.Task[None]]] = set()
"""Callbacks that are coroutines: the loop itself holds its tasks only weakly."""


def tell(kind: str, callback: Callable[..., object] | None, *arguments: object) -> None:
    """Call back, if there is a callback; *kind* names it where faults are counted."""
    if callback is None:
        return
    try:
        answer = callback(*arguments)
        if iscoroutine(answer):
            _start(kind, answer)
    except Exception as fault:
        guard.caught(kind, fault)


def _start(kind: str, coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        task = asyncio.get_running_loop().create_task(_contained(kind, coroutine))
    except RuntimeError:
        coroutine.close()
        raise
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _contained(kind: str, coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        await coroutine
    except Exception as fault:
        guard.caught(kind, fault)
