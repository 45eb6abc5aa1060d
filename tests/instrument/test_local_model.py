"""A model that must not be called twice at a time is not, from threads and from event loops."""

import asyncio
import os
import queue
import threading

import pytest

from otel_latency.instrument.local_model import LocalModelQueue
from otel_latency.instrument.stage import stage


class Model:
    """Fails when it is entered twice at a time; notes its threads."""

    def __init__(self):
        self.busy = threading.Lock()
        self.threads = set()

    def __call__(self, text, *, times=1):
        if not self.busy.acquire(blocking=False):
            raise AssertionError("called twice at a time")
        self.threads.add(threading.get_ident())
        try:
            return text.upper() * times
        finally:
            self.busy.release()


class Gate:
    """Lets calls begin, and go on when told."""

    def __init__(self):
        self.begun, self.open, self.seen = threading.Event(), threading.Event(), []

    def __call__(self, item):
        self.begun.set()
        self.open.wait(10)
        self.seen.append(item)
        return item


def test_threads():
    """Twenty threads share it; it sees one of its own, and never two at a time."""
    model, answers = Model(), []
    with LocalModelQueue(model) as queued:
        threads = [threading.Thread(target=lambda: answers.append(queued("a", times=2))) for _ in range(20)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert (["AA"] * 20, 1) == (answers, len(model.threads))


async def test_tasks():
    """Tasks wait without blocking their loop."""
    with LocalModelQueue(Model()) as model:
        assert ["A", "B", "C"] == await asyncio.gather(*(model.call(each) for each in "abc"))


async def test_failure():
    """The model's own exception reaches the caller."""
    error = ValueError("bad audio")

    def broken(audio):
        raise error

    with LocalModelQueue(broken) as model:
        with pytest.raises(ValueError) as raised:
            await model.call("x")
        with pytest.raises(ValueError):
            model("x")
    assert raised.value is error


async def test_cancelled():
    """A caller that is cancelled while waiting leaves the queue."""
    gate = Gate()
    with LocalModelQueue(gate) as model:
        first = asyncio.create_task(model.call(1))
        await asyncio.to_thread(gate.begun.wait, 10)
        second = asyncio.create_task(model.call(2))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        gate.open.set()
        assert 1 == await first
    assert [1] == gate.seen


async def test_full():
    """Beyond its bound it refuses at once, instead of collecting callers."""
    gate = Gate()
    with LocalModelQueue(gate, name="whisper", max_waiting=1) as model:
        waiting = [asyncio.create_task(model.call(each)) for each in (1, 2)]
        await asyncio.to_thread(gate.begun.wait, 10)
        with pytest.raises(queue.Full, match="whisper: 1 calls are waiting already"):
            model(3)
        gate.open.set()
        assert [1, 2, 4] == [*await asyncio.gather(*waiting), model(4)]


async def test_stages(spans):
    """The wait and the work are two stages, both children of the caller's."""
    with LocalModelQueue(Model(), name="whisper") as model, stage("transcribe"):
        await model.call("a")
    *inner, outer = spans
    assert ["whisper", "whisper_queue"] == sorted(span.name for span in inner)
    assert {outer.context.span_id} == {span.parent.span_id for span in inner}


def test_after_fork():
    """A forked child gets threads of its own, where the parent's would never answer."""
    model = LocalModelQueue(Model())
    model("a")
    child = os.fork()
    if not child:
        os._exit(0 if model("b") == "B" else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    model.close()
