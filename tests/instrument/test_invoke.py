"""A function of whatever kind is called where it belongs."""

import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from otel_latency.instrument.invoke import invoke

WORD = ContextVar("word", default="unset")


async def double(value):
    return 2 * value, threading.current_thread() is threading.main_thread()


class Model:
    async def __call__(self, value):
        return await double(value)

    ask = __call__


KINDS = {
    "coroutine function": double,
    "partial": partial(double),
    "object": Model(),
    "method": Model().ask,
    "returns an awaitable": lambda value: double(value),
}


@pytest.mark.parametrize("function", KINDS.values(), ids=KINDS)
async def test_asynchronous(function):
    """What is asynchronous runs in the caller's loop."""
    assert (6, True) == await invoke(function, 3)


async def test_plain():
    """A plain function runs in another thread, with the caller's context."""
    WORD.set("carried")
    assert ("carried", False) == await invoke(
        lambda: (WORD.get(), threading.current_thread() is threading.main_thread())
    )


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(1)], ids=repr)
async def test_exceptions(error):
    """A plain function's exception comes back as the same object; a StopIteration as Python has it for coroutines."""

    def fail():
        raise error

    with pytest.raises((ValueError, RuntimeError)) as raised:
        await invoke(fail)
    assert error in (raised.value, raised.value.__cause__)


async def test_left_behind():
    """A caller that is cancelled does not wait for the thread, whose answer is then unheard."""
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def stuck():
        begun.set()
        release.wait(10)
        ended.set()

    task = asyncio.create_task(invoke(stuck))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    release.set()
