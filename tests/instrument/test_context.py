"""Which span is current, however spans are closed."""

from __future__ import annotations

import asyncio
import logging

from opentelemetry import trace
from opentelemetry.context import get_current

from otel_latency.instrument.context import current, current_turn
from otel_latency.instrument.stage import stage
from otel_latency.instrument.turn import turn


def test_nesting(spans):
    """Within a turn it is found at any depth, and after it nothing is left."""
    with turn("answer") as around, stage("retrieve") as inner, stage("search"):
        assert current_turn() is around
        assert inner.turn is around
    assert current_turn() is None
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert {} == get_current()


def test_spans_of_others_between(spans):
    """A span that the application opens in between is the parent of ours, and sees ours as its parent."""
    tracer = trace.NoOpTracerProvider().get_tracer("app")
    with turn("answer") as around:
        with tracer.start_as_current_span("theirs"), stage("retrieve") as inner:
            assert inner.turn is around
        assert current() is around


def test_closed_in_another_order(spans):
    """Two streams that overlap end in the order they like; what comes next is not their child."""
    with turn("answer") as around:
        first, second = stage("first").__enter__(), stage("second").__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert current() is around
        with stage("third"):
            pass
    by_name = {span.name: span for span in spans}
    assert by_name["third"].parent.span_id == by_name["answer"].context.span_id


def test_closed_in_another_task(spans, caplog):
    """A span that one task opens and another closes ends well, and logs no failed detach."""

    async def main():
        opened = await asyncio.create_task(_entered(stage("shared")))
        await asyncio.create_task(_left(opened))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert ["shared"] == [span.name for span in spans]
    assert [] == [record for record in caplog.records if record.name.startswith(("opentelemetry", "otel_latency"))]


async def _entered(one):
    return await one.__aenter__()


async def _left(one):
    await one.__aexit__(None, None, None)


def test_no_chain_of_the_closed(spans):
    """Opening here and closing elsewhere, again and again, does not tie each span to the one before."""

    async def main():
        for _ in range(50):
            one = stage("fixture").__enter__()
            await asyncio.create_task(_left(one))
        return one

    last = asyncio.run(main())
    assert {} == last.outer
    assert last.is_adrift
    assert {None} == {span.parent for span in spans}


def test_a_task_that_outlives_its_turn(spans):
    """Work that a turn started and did not wait for belongs to its trace."""

    async def main():
        done = asyncio.Event()
        async with turn("answer"):
            background = asyncio.create_task(_after(done))
        done.set()
        await background

    asyncio.run(main())
    by_name = {span.name: span for span in spans}
    assert by_name["late"].parent.span_id == by_name["answer"].context.span_id


async def _after(event):
    await event.wait()
    with stage("late"):
        pass
