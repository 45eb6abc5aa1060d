"""One object, three ways in: what it records, what it raises, and what it leaves alone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time

import pytest
from opentelemetry.trace import StatusCode

from otel_latency.errors import OtelLatencyError, StageTimeout
from otel_latency.instrument import span as span_module
from otel_latency.instrument.guard import guard
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn


class Stop(BaseException):
    """Not an Exception, as KeyboardInterrupt is not."""


class ReadTimeout(Exception):
    """As an HTTP client names its own."""


def test_decorator_with_and_async_with(spans):
    """One object opens a span however it is used."""
    step = stage("step")
    assert 5 == step(lambda a, b: a + b)(2, b=3)
    with step:
        pass

    async def main():
        async with step:
            pass

    asyncio.run(main())
    assert ["step"] * 3 == [span.name for span in spans]


def test_recursion_and_reuse(spans):
    """One object within itself is one span within another; each ends once."""
    step = stage("step")
    with step as outer, step as inner, step as innermost:
        assert len({outer, inner, innermost}) == 3
    with step:
        pass
    assert [spans[1].context.span_id, spans[2].context.span_id, None, None] == [
        span.parent and span.parent.span_id for span in spans
    ]


def test_one_object_in_a_thousand_tasks(spans):
    """Entries of one object that overlap in many tasks keep their own parents and their own ends."""
    step = stage("step")

    async def one(number):
        async with turn(f"turn {number}"):
            await asyncio.sleep(0)
            async with step as mine:
                await asyncio.sleep(0)
                mine.set(number=number)
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(one(number) for number in range(1000)))

    asyncio.run(main())
    turns = {span.context.span_id: span.name for span in spans if span.parent is None}
    steps = [span for span in spans if span.name == "step"]
    assert 1000 == len(turns) == len(steps)
    assert all(turns[span.parent.span_id] == f"turn {span.attributes['number']}" for span in steps)


def test_one_object_in_threads(spans):
    """Threads do not mix up their entries of one object."""
    step = stage("step")
    together = threading.Barrier(8)

    def one(number):
        with turn(f"turn {number}"):
            together.wait(10)
            with step as mine:
                together.wait(10)
                mine.set(number=number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns = {span.context.span_id: span.name for span in spans if span.parent is None}
    assert [f"turn {n}" for n in range(8)] == sorted(turns[s.parent.span_id] for s in spans if s.name == "step")


def fail(failure):
    if failure is not None:
        raise failure


ENDINGS = {
    "well": (None, "ok", None),
    "error": (ValueError("my secret prompt"), "error", "ValueError"),
    "timeout": (TimeoutError(), "timeout", "TimeoutError"),
    "a client's timeout": (ReadTimeout(), "timeout", f"{__name__}.ReadTimeout"),
    "cancelled task": (asyncio.CancelledError(), "cancelled", None),
    "cancelled future": (concurrent.futures.CancelledError(), "cancelled", None),
    "interrupt": (KeyboardInterrupt(), "cancelled", None),
    "generator closed": (GeneratorExit(), "cancelled", None),
    "any other": (Stop(), "cancelled", None),
    "out of items": (StopIteration(), "ok", None),
}


@pytest.mark.parametrize(("failure", "status", "error_type"), ENDINGS.values(), ids=ENDINGS)
def test_status(spans, failure, status, error_type):
    """The status says how the block ended; the exception passes as it is, and of its text nothing is kept."""
    caught = None
    try:
        with stage("step"):
            fail(failure)
    except BaseException as raised:
        caught = raised
    (span,) = spans
    assert failure is caught
    assert status == span.attributes.get("otel_latency.status", "ok")
    assert error_type == span.attributes.get("error.type")
    assert (StatusCode.ERROR if error_type else StatusCode.UNSET) is span.status.status_code
    assert "secret" not in span.to_json()


def test_budget(spans):
    """A budget is recorded, and whether it sufficed; nothing is raised."""
    with stage("quick", budget=60):
        pass
    with stage("slow", budget=0):
        pass
    assert [(60.0, None), (0.0, True)] == [
        (span.attributes["otel_latency.budget"], span.attributes.get("otel_latency.over_budget")) for span in spans
    ]


def test_timeout_cancels_a_coroutine(spans):
    """At its timeout the work is cancelled, and the caller gets a StageTimeout that is a TimeoutError."""

    async def main():
        async with stage("slow", timeout=0.01):
            await asyncio.Event().wait()

    with pytest.raises(StageTimeout, match=r"stage slow took longer than its timeout of 0.01 s") as caught:
        asyncio.run(main())
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, OtelLatencyError)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert "timeout" == spans[0].attributes["otel_latency.status"]


def test_the_inner_timeout_is_its_own(spans):
    """Of nested timeouts the one that passed is told, once."""

    async def main():
        async with stage("outer", timeout=60):
            with pytest.raises(StageTimeout, match="inner"):
                async with stage("inner", timeout=0.01):
                    await asyncio.Event().wait()

    asyncio.run(main())
    assert ["timeout", "ok"] == [span.attributes.get("otel_latency.status", "ok") for span in spans]


def test_a_timeout_of_the_users_passes(spans):
    """A TimeoutError that is not ours stays the object that it was."""
    theirs = TimeoutError("theirs")

    async def main():
        async with stage("step", timeout=60):
            raise theirs

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert theirs is caught.value


def test_cancellation_from_outside_stays_one(spans):
    """A task that is cancelled before its timeout is cancelled, and does not time out."""

    async def main():
        started = asyncio.Event()

        async def work():
            async with stage("step", timeout=60):
                started.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await started.wait()
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert "cancelled" == spans[0].attributes["otel_latency.status"]


def test_synchronous_timeout(spans):
    """Synchronous work runs to its end, and then its timeout is raised; an exception of its own goes first."""
    done = []
    with pytest.raises(StageTimeout), stage("step", timeout=0):
        done.append(True)
    with pytest.raises(ValueError, match="own"), stage("step", timeout=0):
        raise ValueError("own")
    assert [True] == done
    assert ["timeout", "error"] == [span.attributes["otel_latency.status"] for span in spans]


def test_extend(spans):
    """A timeout can be put off while the work runs."""

    async def main():
        async with stage("step", timeout=0.05) as step:
            step.extend(60)
            await asyncio.sleep(0.1)

    asyncio.run(main())
    assert 60.05 == spans[0].attributes["otel_latency.timeout"]


def test_milestones(spans):
    """A milestone is an event and an attribute; its first time counts, and is the turn's if the turn has none yet."""
    with turn("answer") as around:
        for _ in range(2):
            with stage("llm") as llm:
                llm.milestone("first_token", at=llm.start_monotonic_ns + 220_000_000)
                llm.milestone("first_token", at=llm.start_monotonic_ns + 900_000_000)
                llm.milestone("halfway")
        first = around.milestones["first_token"] - around.start_monotonic_ns
    *stages, whole = spans
    assert [0.22, 0.22] == [span.attributes["otel_latency.time_to_first_token"] for span in stages]
    assert [["first_token", "halfway"]] * 2 == [[event.name for event in span.events] for span in stages]
    assert stages[0].start_time + 220_000_000 == stages[0].events[0].timestamp
    assert first / 1e9 == whole.attributes["otel_latency.time_to_first_token"]
    assert ["first_token"] == [event.name for event in whole.events]


def test_interruption_is_not_an_error(spans):
    """What a user cut short is interrupted, whether its block ends well or by cancellation."""
    with stage("speak") as speak:
        speak.interrupt("barge_in")
    speak = stage("speak").__enter__()
    speak.interrupt()
    speak.__exit__(asyncio.CancelledError, asyncio.CancelledError(), None)
    assert ["interrupted"] * 2 == [span.attributes["otel_latency.status"] for span in spans]
    assert ["barge_in", None] == [span.attributes.get("otel_latency.interrupt_reason") for span in spans]


def test_fallback(spans):
    """What stood in for what failed is on record."""
    with stage("answer") as answer:
        answer.fallback("gpt-4o-mini")
    assert "gpt-4o-mini" == spans[0].attributes["otel_latency.fallback"]
    assert [("fallback", {"otel_latency.fallback": "gpt-4o-mini"})] == [(e.name, e.attributes) for e in spans[0].events]


def test_after(spans):
    """What a stage waited for is a link that names the milestone."""
    with stage("llm") as llm, stage("stt") as stt:
        pass
    with stage("tts", after=(llm, "first_sentence")), stage("play", after=[(llm, "first_token"), (stt, "end")]):
        pass
    assert [
        [(llm.span_context.span_id, "first_token"), (stt.span_context.span_id, "end")],
        [(llm.span_context.span_id, "first_sentence")],
    ] == [[(link.context.span_id, link.attributes["otel_latency.after"]) for link in span.links] for span in spans[2:]]


def test_after_nothing_useful(spans):
    """What cannot be waited for costs the link, not the span."""
    with stage("tts", after=("llm", "first_sentence")), stage("play", after=[]):
        pass
    assert [("play", ()), ("tts", ())] == [(span.name, span.links) for span in spans]
    assert {"after": 1} == guard.faults
    guard.faults.clear()


def test_too_early_and_too_late_is_harmless(spans, caplog):
    """Methods outside of the block do nothing, and log nothing."""
    step = stage("step")
    for _ in range(2):
        step.set(a=1)
        step.event("b")
        step.milestone("first_token")
        step.interrupt()
        step.fallback("c")
        step.extend(1)
        step.close()
        with step:
            pass
        step.__exit__(None, None, None)
    assert [{}, {}] == [dict(span.attributes) for span in spans]
    assert [] == caplog.messages


def test_length_by_the_monotonic_clock(spans, monkeypatch):
    """The wall clock may step back within a turn: lengths and order stay right."""
    clock = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000])
    monkeypatch.setattr(span_module, "time_ns", lambda: next(clock))
    with turn("answer"), stage("step"):
        pass
    step, whole = spans
    assert whole.start_time <= step.start_time <= step.end_time <= whole.end_time


def test_fault_of_the_tracer_is_ours_to_keep(spans):
    """A provider that fails costs the span, not the work."""

    class Broken:
        def start_span(self, *args, **kwargs):
            raise RuntimeError("broken")

    runtime.tracer = Broken()
    with turn("answer") as around, stage("step", budget=1) as step:
        step.set(a=1)
        step.milestone("first_token")
        around.interrupt()
    assert {"start": 2} == guard.faults
    guard.faults.clear()


def test_wrong_arguments_are_left_out(spans):
    """A budget that is no number and an attribute that is an object are ignored."""
    with stage("step", budget="soon", timeout=object(), thing=object()):
        pass
    assert {} == dict(spans[0].attributes)
    assert {"seconds": 2, "attribute": 1} == guard.faults
    guard.faults.clear()


def test_a_fork_within_a_span(spans):
    """The child of a fork leaves the open spans to the parent, and opens its own below them."""
    reader, writer = os.pipe()
    with stage("parent"):
        child = os.fork()
        if child == 0:
            with stage("child"):
                pass
            os.write(writer, b"child " if len(spans) == 1 else b"?")
    if child == 0:
        os.write(writer, b"once" if len(spans) == 1 else b"twice")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert b"child once" == os.read(reader, 100)
    assert ["parent"] == [span.name for span in spans]


def test_without_a_provider():
    """Nothing is recorded, the work is not touched, a timeout still holds."""
    with stage("step", documents=3) as step:
        step.milestone("first_token")
        assert {} == step.own_context or step.own_context is None
    with turn("answer") as around, stage("step") as inner:
        assert inner.turn is around
    with pytest.raises(StageTimeout), stage("slow", timeout=0):
        time.monotonic()
