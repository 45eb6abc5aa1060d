"""The current span in other threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_latency.instrument.carry import carry, patch_threads, restore_threads
from otel_latency.instrument.context import current_turn
from otel_latency.instrument.turn import turn


def name_here():
    around = current_turn()
    return around and around.name


async def name_awaited():
    await asyncio.sleep(0)
    return name_here()


@pytest.fixture
def patched():
    patch_threads()
    yield
    restore_threads()


def test_carried_to_an_executor(spans):
    """A carried function runs as part of the turn, many times at once; one that is not, does not."""
    with ThreadPoolExecutor(4) as pool:
        with turn("answer"):
            carried = carry(name_here)
            jobs = [pool.submit(carried) for _ in range(20)] + [pool.submit(name_here)]
        assert ["answer"] * 20 + [None] == [job.result() for job in jobs]


def test_carried_to_another_loop(spans):
    """A carried coroutine function does so in the event loop of another thread."""
    with turn("answer"):
        carried = carry(name_awaited)
    assert "answer" == asyncio.run(carried())
    assert None is asyncio.run(name_awaited())


def test_everywhere(spans, patched):
    """Once asked for, threads and jobs carry by themselves, and a pool's thread keeps nothing for the next job."""
    seen = []
    with ThreadPoolExecutor(1) as pool:
        with turn("answer"):
            thread = threading.Thread(target=lambda: seen.append(name_here()))
            thread.start()
            thread.join()
            seen.append(pool.submit(name_here).result())
        seen.append(pool.submit(name_here).result())
        with turn("next"):
            seen.extend(pool.map(lambda _: name_here(), [1]))
    assert ["answer", "answer", None, "next"] == seen


def test_nothing_patched_unless_asked():
    """Threads are Python's own before and after."""
    before = threading.Thread.start, ThreadPoolExecutor.submit
    patch_threads()
    assert before != (threading.Thread.start, ThreadPoolExecutor.submit)
    restore_threads()
    assert before == (threading.Thread.start, ThreadPoolExecutor.submit)
    assert "threading" == threading.Thread.start.__module__


def test_a_patch_on_top_of_ours_stays(patched):
    """What somebody else has put over ours is not taken away."""
    ours = threading.Thread.start

    def theirs(self):
        ours(self)

    threading.Thread.start = theirs
    restore_threads()
    assert theirs is threading.Thread.start
    threading.Thread.start = ours


def test_to_thread_needs_nothing(spans):
    """asyncio hands the context to its threads by itself."""

    async def main():
        async with turn("answer"):
            return await asyncio.to_thread(name_here)

    assert "answer" == asyncio.run(main())


def test_exceptions_pass(spans):
    """A carried function raises what it raises."""
    with pytest.raises(ZeroDivisionError):
        carry(lambda: 1 / 0)()
