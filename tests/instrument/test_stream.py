"""A timed stream behaves as the bare one does, and tells the truth about its times and its end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from time import monotonic_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instrument.provider_server import MESSAGE_STOP, ROLE, USAGE, block_delta, chat, message_delta, message_start, tool
from instrument.recording import Recording, memory_provider
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk

from otel_latency import semconv
from otel_latency.instrument import stream as module
from otel_latency.instrument.chunks import Kind
from otel_latency.instrument.guard import guard
from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.stream import Outcome, StreamTimer, observe, settle_dropped


@pytest.fixture
def call():
    return Recording()


@pytest.fixture(autouse=True)
def no_fault():
    """Whatever a test does, nothing of ours failed in silence."""
    before = guard.faults.copy()
    yield
    assert before == guard.faults


def stamped(call, chunks):
    """Stream *chunks*; return, for each milestone, the index of the chunk it was stamped with."""
    between = [monotonic_ns()]
    for _ in observe(iter(chunks), call):
        between.append(monotonic_ns())
    return {
        name: next(index for index, later in enumerate(between[1:]) if at <= later)
        for name, at in call.milestones.items()
    }


TEXT = [chat({"content": text}) for text in ("Hello", " world", ".", " Next", " one")]
STOP = chat({}, finish="stop")
CASES = {
    "role first": ([chat(ROLE), *TEXT, STOP], {"chunk": 0, "token": 1, "answer_token": 1, "sentence": 3}),
    "reasoning first": (
        [chat(ROLE), chat({"reasoning_content": "Hm"}), chat({"reasoning_content": "."}), *TEXT, STOP],
        {"chunk": 0, "token": 1, "answer_token": 3, "sentence": 5},
    ),
    "tool only": (
        [chat(ROLE), chat(tool("", "find")), chat(tool("{}")), chat({}, finish="tool_calls")],
        {"chunk": 0, "token": 1},
    ),
    "empty": ([chat(ROLE), STOP, chat(usage=USAGE)], {"chunk": 0}),
    "nothing at all": ([], {}),
    "one sentence without an end": (
        [chat(ROLE), *TEXT[:2], STOP],
        {"chunk": 0, "token": 1, "answer_token": 1, "sentence": 2},
    ),
    "two answers": (
        [chat(ROLE), chat(ROLE, index=1), chat({"content": "Yes. "}, index=1), chat({"content": "No. "})],
        {"chunk": 0, "token": 2, "answer_token": 2, "sentence": 3},
    ),
    "plain text": (["", "Hi.", " You"], {"chunk": 0, "token": 1, "answer_token": 1, "sentence": 1}),
    "anthropic": (
        [message_start(), block_delta("thinking_delta", "Hm"), block_delta("text_delta", "Hi. "), message_delta()],
        {"chunk": 0, "token": 1, "answer_token": 2, "sentence": 2},
    ),
}


@pytest.mark.parametrize(("chunks", "expected"), CASES.values(), ids=CASES)
def test_firsts(call, chunks, expected):
    """The first chunk, token, answer token and sentence carry the time of just the chunk that brought them."""
    assert {f"first_{name}": index for name, index in expected.items()} == stamped(call, chunks)


def test_firsts_at_once(call):
    """Milestones are known while the stream runs."""
    stream = observe(iter([chat(ROLE), *TEXT]), call)
    known = [(next(stream), sorted(call.milestones))[1] for _ in range(2)]
    assert [["first_chunk"], ["first_answer_token", "first_chunk", "first_token"]] == known


@given(
    st.lists(st.sampled_from([chat(ROLE), *TEXT, STOP, chat(usage=USAGE), None, "x", b"y", 3, {"x": 1}, [], object()]))
)
def test_same_objects(chunks):
    """The very same objects come out, in the same order, whatever they are."""
    assert list(map(id, chunks)) == list(map(id, observe(iter(chunks), Recording())))


def test_lazy(call):
    """Nothing is asked for before the user asks."""
    asked = []

    def source():
        for index in range(3):
            asked.append(index)
            yield index

    stream = observe(source(), call)
    seen = [list(asked)]
    next(stream)
    seen.append(list(asked))
    assert [[], [0]] == seen


def test_return_value(call):
    """What a generator returns reaches `yield from`."""

    def source():
        yield "a"
        return "end"

    def reader():
        return (yield from observe(source(), call))

    reading = reader()
    next(reading)
    with pytest.raises(StopIteration) as end:
        next(reading)
    assert "end" == end.value.value


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_exception(call, failure):
    """The stream's own exception object comes through, and ends the timing."""

    class Source:
        def __iter__(self):
            return self

        def __next__(self):
            raise failure

    with pytest.raises(type(failure)) as raised:
        next(observe(Source(), call))
    assert failure is raised.value
    outcome = "broken" if isinstance(failure, Exception) else "cancelled"
    assert outcome == call.attributes[semconv.STREAM_OUTCOME]


class Client:
    """A client's stream: iterator, context manager and helpers in one."""

    def __init__(self, chunks):
        self.chunks = iter(chunks)
        self.log = []
        self.label = "old"

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def __enter__(self):
        self.log.append("enter")
        return self

    def __exit__(self, *failure):
        self.log.append("exit")

    def close(self):
        self.log.append("close")
        return "closed"


def test_helpers(call):
    """Attributes, methods, `isinstance` and `repr` are the stream's own; assignments reach it."""
    client = Client(["a"])
    stream = observe(client, call)
    stream.label = "new"
    assert ("new", repr(client), True, "closed") == (
        client.label,
        repr(stream),
        isinstance(stream, Client),
        stream.close(),
    )


def test_missing_attribute(call):
    """What the stream has not, its stand-in has not."""
    stream = observe(iter([]), call)
    assert (False, False, False, False) == tuple(
        hasattr(stream, name) for name in ("close", "aclose", "__enter__", "__aiter__")
    )


def test_with(call):
    """`with` goes to the stream, and its end is the end of the timing."""
    client = Client(["a", "b"])
    with observe(client, call) as stream:
        next(stream)
    assert (["enter", "exit"], "abandoned") == (client.log, call.attributes[semconv.STREAM_OUTCOME])


def test_manager(call):
    """A manager whose `as` is another object has that one timed."""

    class Manager:
        def __enter__(self):
            return Client([chat({"content": "Hi"}), STOP])

        def __exit__(self, *failure):
            return None

    with observe(Manager(), call) as stream:
        assert isinstance(stream, Client)
        assert 2 == len(list(stream))
    assert ("completed", 1) == (call.attributes[semconv.STREAM_OUTCOME], call.attributes[semconv.OUTPUT_CHUNKS])


def test_iterable(call):
    """What can be iterated but is no iterator stays so."""
    chunks = ["a", "b"]
    assert chunks == list(observe(chunks, call))
    assert 2 == call.attributes[semconv.OUTPUT_CHUNKS]


def test_not_a_stream(call):
    """Anything else comes back as it is."""
    thing = object()
    assert thing is observe(thing, call)


@pytest.mark.parametrize("kind", [Iterator, AsyncIterator])
def test_kind(call, kind):
    """An iterator stays an iterator, an async one an async one, and neither becomes both."""

    async def source():
        yield 1

    stream = observe(iter([1]) if kind is Iterator else source(), call)
    assert (kind is Iterator, kind is AsyncIterator) == (
        isinstance(stream, Iterator),
        isinstance(stream, AsyncIterator),
    )


async def replay(*chunks):
    for chunk in chunks:
        yield chunk


async def test_async(call):
    """Async streams are timed likewise."""
    chunks = [chat(ROLE), *TEXT, STOP]
    assert chunks == [chunk async for chunk in observe(replay(*chunks), call)]
    assert {"first_chunk", "first_token", "first_answer_token", "first_sentence"} == set(call.milestones)


async def test_async_iterable(call):
    """An object with nothing but `__aiter__` works in `async for`."""

    class Source:
        def __aiter__(self):
            return replay("a", "b")

    assert ["a", "b"] == [chunk async for chunk in observe(Source(), call)]


async def test_cancelled(call):
    """A cancelled read passes its cancellation on, and is told as cancelled."""
    reached = asyncio.Event()

    async def source():
        yield "a"
        reached.set()
        await asyncio.Event().wait()

    async def read():
        async for _ in observe(source(), call):
            pass

    task = asyncio.create_task(read())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "cancelled" == call.attributes[semconv.STREAM_OUTCOME]


async def test_aclose(call):
    """`aclose` reaches the generator."""
    closed = []

    async def source():
        try:
            yield "a"
        finally:
            closed.append(True)

    stream = observe(source(), call)
    await anext(stream)
    await stream.aclose()
    assert ([True], "abandoned") == (closed, call.attributes[semconv.STREAM_OUTCOME])


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([*TEXT, STOP], "completed"),
        (TEXT, "truncated"),
        ([message_start(), block_delta("text_delta", "Hi")], "truncated"),
        ([message_start(), message_delta(), MESSAGE_STOP], "completed"),
        (["plain"], "completed"),
        ([], "completed"),
    ],
)
def test_outcome(call, chunks, expected):
    """A stream that stops without the last chunk of its protocol was cut off."""
    list(observe(iter(chunks), call))
    assert expected == call.attributes[semconv.STREAM_OUTCOME]


LONG = [chat({"content": text}) for text in ("Yes. ", "And", " more", " of", " it")]
OBJECTS = {
    "whole": ([*LONG, STOP], 5, "completed", {}),
    "cut off": (LONG, 5, "truncated", {}),
    "empty deltas in the midst": ([*LONG[:3], chat({"content": ""}), chat({}), *LONG[3:], STOP], 5, "completed", {}),
    "two answers": ([*LONG, chat({"content": "b"}, index=1), STOP], 6, "completed", {}),
    "the end with the last text": ([*LONG, chat({"content": "!"}, finish="stop")], 6, "completed", {}),
    "usage with the last text": (
        [*LONG, chat({"content": "!"}, finish="stop", usage={"prompt_tokens": 3})],
        6,
        "completed",
        {"input_tokens": 3},
    ),
    "usage in between does not count": (
        [chat({"content": "Hi. "}, usage={"prompt_tokens": 9}), *LONG, STOP, chat(usage={"prompt_tokens": 3})],
        6,
        "completed",
        {"input_tokens": 3},
    ),
}


@pytest.mark.parametrize(("chunks", "tokens", "outcome", "counts"), OBJECTS.values(), ids=OBJECTS)
def test_objects(call, chunks, tokens, outcome, counts):
    """The quick look at the chat chunks of a real client, once all firsts are known, sees what the long look sees."""
    list(observe(iter([construct_type(type_=ChatCompletionChunk, value=chunk) for chunk in chunks]), call))
    found = call.attributes[semconv.OUTPUT_CHUNKS], call.attributes[semconv.STREAM_OUTCOME], call.counts
    assert (tokens, outcome, counts) == found


@pytest.mark.parametrize(("count", "expected"), [(3, "abandoned"), (6, "completed")])
def test_stop_reading(call, count, expected):
    """To stop reading at the last chunk is to read it all."""
    stream = observe(iter([*TEXT, STOP, chat(usage=USAGE)]), call)
    for _ in range(count):
        next(stream)
    del stream
    settle_dropped()
    assert expected == call.attributes[semconv.STREAM_OUTCOME]


def test_dropped(call):
    """A stream lost to garbage collection is noted there and settled later, with the time of its loss."""
    ends = []
    stream = StreamTimer(call, on_end=lambda *end: ends.append(end)).watch(iter(["a", "b"]))
    next(stream)
    cycle = [stream]
    cycle.append(cycle)
    before = monotonic_ns()
    del stream, cycle
    gc.collect()
    after = monotonic_ns()
    assert [] == ends
    settle_dropped()
    [(outcome, failure, at)] = ends
    assert (Outcome.ABANDONED, None, True) == (outcome, failure, before <= at <= after)


def test_chunks_are_freed(call):
    """Of a running stream at most two chunks are held, of an ended one none."""

    class Chunk:
        text = "a"

    kept = []

    def source():
        for _ in range(5):
            chunk = Chunk()
            kept.append(weakref.ref(chunk))
            yield chunk
            del chunk

    stream = observe(source(), call)
    for _ in range(5):
        next(stream)
    held = sum(ref() is not None for ref in kept)
    next(stream, None)
    assert (True, 0) == (held <= 3, sum(ref() is not None for ref in kept))


def test_usage(call):
    """The provider's counts come from the tail, and the start where they are there."""
    list(observe(iter([message_start(), block_delta("text_delta", "Hi"), message_delta(9), MESSAGE_STOP]), call))
    assert {"input_tokens": 17, "output_tokens": 9, "cache_read_tokens": 5, "cache_write_tokens": 2} == call.counts


def test_usage_beside_text(call):
    """Gemini and others count in the chunk that ends the text."""
    last = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "usage_metadata": {"prompt_token_count": 3}}
    list(observe(iter([last]), call))
    assert {"input_tokens": 3} == call.counts


def with_stamps(monkeypatch, call, chunks, stamps):
    call.start_monotonic_ns = 0
    clock = iter(stamps)
    monkeypatch.setattr(module, "monotonic_ns", lambda: next(clock))
    list(StreamTimer(call).watch(iter(chunks)))
    return call.attributes


MS = 1_000_000


def test_rates(monkeypatch, call):
    """Frames and the tail are no tokens: 5 tokens, 10 ms apart after 100 ms, are 4 gaps of 10 ms."""
    chunks = [chat(ROLE), *TEXT, STOP, chat(usage={**USAGE, "completion_tokens": 5})]
    stamps = [20 * MS, *(100 * MS + index * 10 * MS for index in range(5)), 190 * MS, 200 * MS]
    expected = {
        "gen_ai.response.finish_reasons": ["stop"],
        semconv.STREAM_OUTCOME: "completed",
        semconv.FIRST_TOKEN_KIND: "content",
        semconv.OUTPUT_CHUNKS: 5,
        semconv.TIME_PER_OUTPUT_TOKEN: 0.01,
        semconv.INTER_TOKEN_LATENCY_P50: 0.01,
        semconv.INTER_TOKEN_LATENCY_P99: 0.01,
        semconv.INTER_TOKEN_LATENCY_MAX: 0.01,
        semconv.LONGEST_GAP: 0.01,
        semconv.STALLS: 0,
        semconv.TOKENS_PER_SECOND: pytest.approx(5 / 0.14),
    }
    assert expected == with_stamps(monkeypatch, call, chunks, stamps)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((10, 0), 0.005), ((15, 10), 0.01), (None, 0.01)],
    ids=["two tokens a chunk", "reasoning that was not streamed", "no usage: a chunk is a token"],
)
def test_tokens_per_chunk(monkeypatch, call, counts, expected):
    """Chunks are scaled by the tokens in them, reasoning that nobody saw left out."""
    usage = []
    if counts:
        details = {"completion_tokens": counts[0], "completion_tokens_details": {"reasoning_tokens": counts[1]}}
        usage = [chat(usage={**USAGE, **details})]
    found = with_stamps(monkeypatch, call, [*TEXT, STOP, *usage], range(0, 1000 * MS, 10 * MS))
    assert expected == pytest.approx(found[semconv.TIME_PER_OUTPUT_TOKEN])


def test_limit(monkeypatch, call):
    """A stream without end keeps a bounded number of stamps."""
    monkeypatch.setattr(module, "MAX_STAMPS", 10)
    timer = StreamTimer(call)
    for _ in timer.watch(iter("x" * 1000)):
        pass
    assert 10 == len(timer.stamps)


def test_classify(call):
    """The user's classifier replaces ours; the kind may be named."""
    kinds = {1: Kind.FRAMING, 2: "reasoning", 3: "content"}
    list(observe(iter([1, 2, 3]), call, classify=kinds.get))
    assert ({"first_chunk", "first_token", "first_answer_token"}, 2) == (
        set(call.milestones),
        call.attributes[semconv.OUTPUT_CHUNKS],
    )


def test_nobody_listens():
    """A stand-in for a call that fails in every way costs the reader nothing."""

    class Broken:
        start_monotonic_ns = 0

        def __getattr__(self, name):
            raise RuntimeError(name)

    before = guard.faults.copy()
    assert ["a", "b"] == list(observe(iter(["a", "b"]), Broken()))
    assert guard.faults != before
    guard.faults.clear()
    guard.faults.update(before)


def test_hostile_chunks(call):
    """Chunks whose fields raise are handed on."""

    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError("secret")

    before = guard.faults.copy()
    chunk = Hostile()
    assert [chunk] == list(observe(iter([chunk]), call))
    guard.faults.clear()
    guard.faults.update(before)


@pytest.fixture
def spans():
    provider, exporter = memory_provider()
    before, runtime.tracer = runtime.tracer, provider.get_tracer("test")
    yield exporter
    runtime.tracer = before


def test_span(spans):
    """On the span of a call stand the milestones, the usage and the flow; of the text, nothing."""
    with llm_call("draft", provider="openai", model="m") as call:
        list(call.stream(iter([chat(ROLE), *TEXT, STOP, chat(usage=USAGE)])))
    [span] = spans.get_finished_spans()
    assert ["first_chunk", "first_token", "first_answer_token", "first_sentence"] == [each.name for each in span.events]
    assert (12, 6, "completed", 5) == tuple(
        span.attributes[name]
        for name in (
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            semconv.STREAM_OUTCOME,
            semconv.OUTPUT_CHUNKS,
        )
    )
    assert "world" not in span.to_json()


@pytest.mark.parametrize("is_kept", [False, True])
def test_span_of_abandoned(spans, is_kept):
    """A call that ends before its stream says so, whether the stream is still held or gone."""
    with llm_call("draft", provider="openai") as call:
        stream = call.stream(iter([*TEXT, STOP]))
        next(stream)
        if not is_kept:
            del stream
    [span] = spans.get_finished_spans()
    assert "abandoned" == span.attributes[semconv.STREAM_OUTCOME]
