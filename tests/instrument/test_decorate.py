"""Adding the instrumentation changes no behaviour: the same script of calls runs against a function and its decorated
twin, and both transcripts are equal. Every exception in a transcript stands with whether it is the very object.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import get_current

from otel_latency.errors import StageTimeout
from otel_latency.instrument.context import current, current_turn
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn
from otel_latency.testing import capture_spans


class Boom(Exception):
    pass


class Stop(BaseException):
    pass


FAILURES = (Boom, Stop, KeyError, StopIteration, StopAsyncIteration, asyncio.CancelledError, GeneratorExit, SystemExit)
BODY = st.lists(
    st.one_of(
        st.tuples(st.just("yield"), st.integers(0, 9)),
        st.tuples(st.just("guarded"), st.integers(0, 9)),
        st.tuples(st.just("stubborn"), st.integers(0, 9)),
        st.tuples(st.just("raise"), st.sampled_from(FAILURES)),
        st.tuples(st.just("return"), st.integers(0, 9)),
    ),
    max_size=5,
)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.none()),
        st.tuples(st.just("send"), st.integers(0, 9)),
        st.tuples(st.just("throw"), st.sampled_from(FAILURES)),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=6,
)
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told(failure, known):
    """An exception as a transcript has it."""
    return type(failure), failure.args, any(failure is one for one in known), failure.__cause__ is None


def generator(body, log, raised):
    for action, value in body:
        log.append(action)
        if action == "yield":
            log.append((yield value))
        elif action == "guarded":
            try:
                log.append((yield value))
            except Exception as failure:
                log.append(type(failure))
            finally:
                log.append("finally")
        elif action == "stubborn":
            try:
                yield value
            except BaseException as failure:
                log.append(type(failure))
                yield "still here"
        elif action == "raise":
            raised.append(value())
            raise raised[-1]
        else:
            return value
    log.append("end")
    return None


async def async_generator(body, log, raised):
    for action, value in body:
        log.append(action)
        await asyncio.sleep(0)
        if action == "yield":
            log.append((yield value))
        elif action == "guarded":
            try:
                log.append((yield value))
            except Exception as failure:
                log.append(type(failure))
            finally:
                log.append("finally")
        elif action == "stubborn":
            try:
                yield value
            except BaseException as failure:
                log.append(type(failure))
                yield "still here"
        elif action == "raise":
            raised.append(value())
            raise raised[-1]
        else:
            return
    log.append("end")


def play(function, body, moves):
    """What a generator function does when it is driven by *moves*."""
    log, known = [], []
    running = function(body, log, known)
    log.append("made")
    for move, value in moves:
        try:
            if move == "next":
                log.append(("got", next(running)))
            elif move == "send":
                log.append(("got", running.send(value)))
            elif move == "throw":
                known.append(value())
                log.append(("got", running.throw(known[-1])))
            else:
                log.append(("closed", running.close()))
        except BaseException as failure:
            log.append(("raised", *told(failure, known)))
    try:
        running.close()
    except BaseException as failure:
        log.append(("raised", *told(failure, known)))
    return log


async def async_play(function, body, moves):
    log, known = [], []
    running = function(body, log, known)
    log.append("made")
    for move, value in moves:
        try:
            if move == "next":
                log.append(("got", await anext(running)))
            elif move == "send":
                log.append(("got", await running.asend(value)))
            elif move == "throw":
                known.append(value())
                log.append(("got", await running.athrow(known[-1])))
            else:
                log.append(("closed", await running.aclose()))
        except BaseException as failure:
            log.append(("raised", *told(failure, known)))
    try:
        await running.aclose()
    except BaseException as failure:
        log.append(("raised", *told(failure, known)))
    return log


@EXAMPLES
@given(body=BODY, moves=MOVES)
def test_generators(body, moves):
    """A generator yields, receives, raises and ends as before, and its span is over when it is."""
    with capture_spans() as spans:
        assert play(generator, body, moves) == play(stage("step")(generator), body, moves)
    assert len(spans) <= 1
    assert {} == get_current()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a body that refuses to close
@EXAMPLES
@given(body=BODY, moves=MOVES)
def test_async_generators(body, moves):
    """So does an async generator."""

    async def main():
        expected = await async_play(async_generator, body, moves)
        assert expected == await async_play(stage("step", timeout=60)(async_generator), body, moves)
        assert expected == await async_play(stage("step")(async_generator), body, moves)
        assert {} == get_current()

    with capture_spans():
        asyncio.run(main())


@EXAMPLES
@given(failure=st.sampled_from([None, *FAILURES]), value=st.integers())
def test_functions_and_coroutines(failure, value):
    """A function or coroutine returns or raises the same object, with the user's frames in its traceback."""
    raised = failure() if failure else None

    def function(a, *, b=2):
        if raised is not None:
            raise raised
        return a, b

    async def coroutine(a, *, b=2):
        await asyncio.sleep(0)
        return function(a, b=b)

    def outcome(work):
        if raised is not None:
            raised.__traceback__ = None
        try:
            return "returned", work()
        except BaseException as got:
            frames = [frame.name for frame in traceback.extract_tb(got.__traceback__)]
            return "raised", type(got), got is raised, [name for name in frames if name in ("function", "coroutine")]

    def driven(made):
        try:
            while True:
                made.send(None)
        except StopIteration as end:
            return end.value

    with capture_spans() as spans:
        assert outcome(lambda: function(value)) == outcome(lambda: stage("step")(function)(value))
        step = stage("step")(coroutine)
        assert outcome(lambda: driven(coroutine(value, b=3))) == outcome(lambda: driven(step(value, b=3)))
    assert 2 == len(spans)


def plain(a: int, /, b: str = "x", *rest: int, c: float, **more: object) -> str:
    """A docstring."""
    return b


async def coroutine(a: int) -> str:
    return str(a)


class Service:
    @stage("method")
    def method(self, value):
        return self, value

    @stage("static")
    @staticmethod
    def static(value):
        return value

    @stage("class")
    @classmethod
    def of_class(cls, value):
        return cls, value


class Callable:
    async def __call__(self, value):
        return value


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_kind_and_signature_stay(function):
    """inspect sees what it saw before."""
    timed = stage("step")(function)
    assert timed.__wrapped__ is function
    assert inspect.signature(function) == inspect.signature(timed)
    assert (function.__name__, function.__qualname__, function.__doc__, function.__module__) == (
        timed.__name__,
        timed.__qualname__,
        timed.__doc__,
        timed.__module__,
    )
    for is_kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert is_kind(function) == is_kind(timed)


def test_methods(spans):
    """Methods, static and class methods are called as ever."""
    service = Service()
    assert (service, 1) == service.method(1)
    assert [2, 2] == [Service.static(2), service.static(2)]
    assert [(Service, 3)] * 2 == [Service.of_class(3), service.of_class(3)]
    assert ["method", "static", "static", "class", "class"] == [span.name for span in spans]


def test_callable_objects(spans):
    """An object with an async `__call__` and a partial of a coroutine function are awaited."""
    for function in (Callable(), functools.partial(coroutine, 7)):
        timed = stage("step")(function)
        assert inspect.iscoroutinefunction(timed)
    assert "7" == asyncio.run(stage("step")(functools.partial(coroutine, 7))())


def test_consumer_keeps_its_context(spans):
    """The generator's span is current in its steps and not between them, and so is what it opens itself."""

    @stage("producer")
    def produce():
        with stage("inner"):
            yield current().name
            yield current().name

    with turn("answer") as around:
        running = produce()
        seen = []
        for name in running:
            seen.append((name, current() is around))
            with stage("consumer"):
                pass
    assert [("inner", True)] * 2 == seen
    by_name = {span.name: span for span in spans}
    assert by_name["answer"].context.span_id == by_name["consumer"].parent.span_id
    assert by_name["producer"].context.span_id == by_name["inner"].parent.span_id


def test_async_consumer_keeps_its_context(spans):
    """The same for an async generator, whose consumer may even be another task at each step."""

    @stage("producer")
    async def produce():
        with stage("inner"):
            yield current().name
            await asyncio.sleep(0)
            yield current().name

    async def main():
        async with turn("answer") as around:
            running = produce()
            names = [await asyncio.create_task(_next(running)), await anext(running)]
            assert current() is around
            assert [] == [name async for name in running]
        return names

    assert ["inner", "inner"] == asyncio.run(main())
    assert ["inner", "producer", "answer"] == [span.name for span in spans]


async def _next(running):
    return await anext(running)


def test_abandoned_generators(spans, caplog):
    """A generator that nobody finishes ends its span when Python lets go of it, in silence."""

    @stage("producer")
    def produce():
        yield 1
        yield 2

    with caplog.at_level(logging.DEBUG):
        next(produce())
        gc.collect()

        @stage("async producer")
        async def produce_async():
            yield 1
            yield 2

        async def main():
            async for _ in produce_async():
                break

        asyncio.run(main())
        gc.collect()
    assert [("producer", "cancelled"), ("async producer", "cancelled")] == [
        (span.name, span.attributes["otel_latency.status"]) for span in spans
    ]
    assert [] == [record.message for record in caplog.records if record.name != "asyncio"]


def test_never_started(spans):
    """A generator or coroutine that is made and not run has no span."""
    stage("step")(generator)([], [], [])
    stage("step")(coroutine)(1).close()
    assert [] == spans


def test_generator_timeouts(spans):
    """A generator raises at the end of the step that was too late, and closes; an async one is cancelled in it."""
    closed = []

    @stage("step", timeout=0)
    def produce():
        try:
            yield 1
        finally:
            closed.append("sync")

    @stage("step", timeout=0.01)
    async def produce_async():
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.append("async")

    async def main():
        return [value async for value in produce_async()]

    with pytest.raises(StageTimeout):
        next(produce())
    with pytest.raises(StageTimeout):
        asyncio.run(main())
    assert ["sync", "async"] == closed
    assert ["timeout", "timeout"] == [span.attributes["otel_latency.status"] for span in spans]


def test_right_parent_in_a_thousand_tasks(spans):
    """Spans of concurrent tasks have the parents they should."""

    @stage("inner")
    async def inner(number):
        await asyncio.sleep(0)
        assert f"turn {number}" == current_turn().name
        trace.get_current_span().set_attribute("number", number)

    async def one(number):
        async with turn(f"turn {number}"):
            await asyncio.gather(inner(number), inner(number))

    async def main():
        await asyncio.gather(*(one(number) for number in range(1000)))

    asyncio.run(main())
    turns = {span.context.span_id: span.name for span in spans if span.parent is None}
    inners = [span for span in spans if span.name == "inner"]
    assert 2000 == len(inners)
    assert all(turns[span.parent.span_id] == f"turn {span.attributes['number']}" for span in inners)
