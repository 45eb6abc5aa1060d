"""The real clients of openai and anthropic against a server on loopback: true times, one call each, nothing changed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from time import monotonic_ns

import anthropic
import openai
import pytest
from instrument.provider_server import (
    BREAK,
    DONE,
    MESSAGE_STOP,
    ROLE,
    USAGE,
    ProviderServer,
    Step,
    block_delta,
    block_start,
    block_stop,
    chat,
    message_delta,
    message_start,
    response,
    response_event,
    tool,
)
from instrument.recording import memory_provider
from opentelemetry import trace

from otel_latency import semconv
from otel_latency.instrument.guard import guard
from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.runtime import runtime
from otel_latency.instrument.stage import stage
from otel_latency.instrument.stream import settle_dropped
from otel_latency.instrument.wrap import wrap

TOLERANCE_NS = 5_000_000
FRAME, FIRST, LATER = 0.02, 0.22, 0.23


@pytest.fixture(scope="module")
def server():
    with ProviderServer() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(server):
    """A server without memory, and whatever a test does, nothing of ours failed in silence."""
    server.script, server.answer, server.status = [], {}, 200
    server.requests.clear()
    before = guard.faults.copy()
    yield
    assert before == guard.faults


@pytest.fixture
def spans():
    provider, exporter = memory_provider()
    before, runtime.tracer = runtime.tracer, provider.get_tracer(semconv.SCOPE)
    exporter.provider = provider
    yield exporter
    runtime.tracer = before


@pytest.fixture
def gpt(server):
    with openai.OpenAI(base_url=server.url, api_key="sk-secret", max_retries=0) as client:
        yield wrap(client)


@pytest.fixture
async def async_gpt(server):
    async with openai.AsyncOpenAI(base_url=server.url, api_key="sk-secret", max_retries=0) as client:
        yield wrap(client)


@pytest.fixture
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key="sk-secret", max_retries=0) as client:
        yield wrap(client)


@pytest.fixture
async def async_claude(server):
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="sk-secret", max_retries=0) as client:
        yield wrap(client)


CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "the prompt"}]}
MESSAGE = {"model": "claude-4", "max_tokens": 9, "messages": [{"role": "user", "content": "the prompt"}]}
STOP = chat({}, finish="stop")
WORD = chat({"content": "Hello"})

# Name -> the script, and the number of the event that brings the first token and the first answer token, from 0.
CHAT_CASES = {
    "role, then content": ([Step(FRAME, chat(ROLE)), Step(FIRST, WORD), Step(LATER, STOP), DONE], 1, 1),
    "reasoning first": (
        [
            Step(FRAME, chat(ROLE)),
            Step(0.1, chat({"reasoning_content": "Hm"})),
            Step(FIRST, WORD),
            Step(FIRST, STOP),
            DONE,
        ],
        1,
        2,
    ),
    "tool only": (
        [
            Step(FRAME, chat(ROLE)),
            Step(FIRST, chat(tool("", "find"))),
            Step(LATER, chat(tool("{}"))),
            Step(LATER, chat({}, finish="tool_calls")),
            DONE,
        ],
        1,
        None,
    ),
    "usage tail": (
        [Step(FRAME, chat(ROLE)), Step(FIRST, WORD), Step(LATER, STOP), Step(LATER, chat(usage=USAGE)), DONE],
        1,
        1,
    ),
    "empty": ([Step(FRAME, chat(ROLE)), Step(FIRST, STOP), Step(FIRST, chat(usage=USAGE)), DONE], None, None),
    "two answers": (
        [
            Step(FRAME, chat(ROLE)),
            Step(FRAME, chat(ROLE, index=1)),
            Step(FIRST, chat({"content": "Hi"}, index=1)),
            Step(LATER, WORD),
            DONE,
        ],
        2,
        2,
    ),
    "empty strings first": (
        [Step(FRAME, chat(ROLE)), Step(0.1, chat({"content": ""})), Step(FIRST, WORD), Step(LATER, STOP), DONE],
        2,
        2,
    ),
    "broken midway": ([Step(FRAME, chat(ROLE)), Step(FIRST, WORD), Step(LATER, BREAK)], 1, 1),
}
MESSAGE_END = [Step(LATER, block_stop()), Step(LATER, message_delta()), Step(LATER, MESSAGE_STOP)]
MESSAGE_CASES = {
    "start, then text": (
        [
            Step(FRAME, message_start()),
            Step(FRAME, block_start()),
            Step(FIRST, block_delta("text_delta", "Hi")),
            *MESSAGE_END,
        ],
        2,
        2,
    ),
    "thinking first": (
        [
            Step(FRAME, message_start()),
            Step(FRAME, block_start("thinking")),
            Step(0.1, block_delta("thinking_delta", "Hm")),
            Step(0.1, block_stop()),
            Step(0.1, block_start(index=1)),
            Step(FIRST, block_delta("text_delta", "Hi", 1)),
            *MESSAGE_END,
        ],
        2,
        5,
    ),
    "tool only": (
        [
            Step(FRAME, message_start()),
            Step(FRAME, block_start("tool_use")),
            Step(0.1, block_delta("input_json_delta", "")),
            Step(FIRST, block_delta("input_json_delta", "{}")),
            *MESSAGE_END,
        ],
        3,
        None,
    ),
    "empty": ([Step(FRAME, message_start()), *MESSAGE_END], None, None),
    "broken midway": (
        [
            Step(FRAME, message_start()),
            Step(FRAME, block_start()),
            Step(FIRST, block_delta("text_delta", "Hi")),
            Step(LATER, BREAK),
        ],
        2,
        2,
    ),
}


def assert_true(call, stamps, token, answer):
    """Each milestone is the client's own stamp of that chunk, or missing where there was none."""
    events = {"first_chunk": 0, "first_token": token, "first_answer_token": answer}
    expected = {name: stamps[index] for name, index in events.items() if index is not None}
    found = {name: call.milestones[name] for name in events if name in call.milestones}
    assert set(expected) == set(found)
    assert all(abs(found[name] - stamp) < TOLERANCE_NS for name, stamp in expected.items()), (found, expected)


def read(stream, broken):
    stamps = []
    try:
        for _ in stream:
            stamps.append(monotonic_ns())
    except broken:
        pass
    return stamps


async def read_async(stream, broken):
    stamps = []
    try:
        async for _ in stream:
            stamps.append(monotonic_ns())
    except broken:
        pass
    return stamps


BROKEN = (openai.APIConnectionError, anthropic.APIConnectionError, Exception)


@pytest.mark.parametrize(("script", "token", "answer"), CHAT_CASES.values(), ids=CHAT_CASES)
def test_truth_openai(server, gpt, script, token, answer):
    """The openai client's own times of the first chunk and token are what we report."""
    server.script = script
    with llm_call("draft", provider="openai") as call:
        stamps = read(gpt.chat.completions.create(**CHAT, stream=True), BROKEN)
    assert_true(call, stamps, token, answer)


@pytest.mark.parametrize(("script", "token", "answer"), CHAT_CASES.values(), ids=CHAT_CASES)
async def test_truth_async_openai(server, async_gpt, script, token, answer):
    """The async client's, too."""
    server.script = script
    async with llm_call("draft", provider="openai") as call:
        stamps = await read_async(await async_gpt.chat.completions.create(**CHAT, stream=True), BROKEN)
    assert_true(call, stamps, token, answer)


@pytest.mark.parametrize(("script", "token", "answer"), MESSAGE_CASES.values(), ids=MESSAGE_CASES)
def test_truth_anthropic(server, claude, script, token, answer):
    """The anthropic client's, too."""
    server.script = script
    with llm_call("draft", provider="anthropic") as call:
        stamps = read(claude.messages.create(**MESSAGE, stream=True), BROKEN)
    assert_true(call, stamps, token, answer)


@pytest.mark.parametrize(("script", "token", "answer"), MESSAGE_CASES.values(), ids=MESSAGE_CASES)
async def test_truth_async_anthropic(server, async_claude, script, token, answer):
    """And its async client's."""
    server.script = script
    async with llm_call("draft", provider="anthropic") as call:
        stamps = await read_async(await async_claude.messages.create(**MESSAGE, stream=True), BROKEN)
    assert_true(call, stamps, token, answer)


RESPONSE = [
    Step(FRAME, response_event("created", response=response("in_progress"))),
    Step(0.1, response_event("reasoning_summary_text.delta", delta="Hm", item_id="i", output_index=0, summary_index=0)),
    Step(FIRST, response_event("output_text.delta", delta="Hi", item_id="i", output_index=0, content_index=0)),
    Step(LATER, response_event("completed", response=response("completed"))),
]


def test_truth_responses(server, gpt):
    """OpenAI Responses name their events; the reasoning is a token, the answer comes later."""
    server.script = RESPONSE
    with llm_call("draft", provider="openai") as call:
        stamps = read(gpt.responses.create(model="gpt-4o", input="the prompt", stream=True), BROKEN)
    assert_true(call, stamps, 1, 2)


@pytest.mark.parametrize("case", ["role, then content", "reasoning first", "tool only"])
def test_truth_unwrapped(server, case):
    """`call.stream` around a bare client's stream tells the same."""
    script, token, answer = CHAT_CASES[case]
    server.script = script
    with (
        openai.OpenAI(base_url=server.url, api_key="x", max_retries=0) as client,
        llm_call("draft", provider="openai") as call,
    ):
        stamps = read(call.stream(client.chat.completions.create(**CHAT, stream=True)), BROKEN)
    assert_true(call, stamps, token, answer)


# --- one call each ------------------------------------------------------------------------------------------------

NOW = [chat(ROLE), WORD, chat({"content": " world."}), STOP, chat(usage=USAGE)]
CHAT_NOW = [*(Step(0, chunk) for chunk in NOW), DONE]
MESSAGE_NOW = [Step(0, step.event) for step in MESSAGE_CASES["start, then text"][0]]
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "the answer"}}],
    "usage": USAGE,
}


def only(spans):
    [span] = spans.get_finished_spans()
    return span


def test_stream_span(server, gpt, spans):
    """A streamed request is one span: provider, model, milestones, usage; no prompt, answer or key."""
    server.script = CHAT_NOW
    chunks = list(gpt.chat.completions.create(**CHAT, stream=True))
    span = only(spans)
    assert [5, "chat gpt-4o", "openai", 12, 6, "completed"] == [
        len(chunks),
        span.name,
        *(
            span.attributes[name]
            for name in (
                "gen_ai.provider.name",
                "gen_ai.usage.input_tokens",
                "gen_ai.usage.output_tokens",
                semconv.STREAM_OUTCOME,
            )
        ),
    ]
    assert not [secret for secret in ("the prompt", "world", "sk-secret") if secret in span.to_json()]


def test_whole_answer(server, gpt, spans):
    """A request without a stream has its tokens, and no first token."""
    server.answer = COMPLETION
    assert "the answer" == gpt.chat.completions.create(**CHAT).choices[0].message.content
    span = only(spans)
    assert (6, False) == (span.attributes["gen_ai.usage.output_tokens"], "first_token" in str(span.attributes))


def test_embeddings(server, gpt, spans):
    """Embeddings are a call with an operation of their own."""
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    server.answer = {"object": "list", "model": "e", "data": [], "usage": usage}
    gpt.embeddings.create(model="embed-3", input="the prompt", encoding_format="float")
    span = only(spans)
    assert ("embeddings embed-3", 5) == (span.name, span.attributes["gen_ai.usage.input_tokens"])


def test_other_requests(server, gpt, spans):
    """What is no call of a model is not one."""
    server.answer = {"id": "m", "model": "m", "results": []}
    gpt.moderations.create(input="x")
    assert () == spans.get_finished_spans()


def test_helper_openai(server, gpt, spans):
    """The `stream()` helper of openai is timed beneath: `get_final_completion` works and counts."""
    server.script = CHAT_NOW
    with gpt.chat.completions.stream(**CHAT) as stream:
        assert "Hello world." == stream.get_final_completion().choices[0].message.content
    assert (2, "completed") == tuple(
        only(spans).attributes[name] for name in (semconv.OUTPUT_CHUNKS, semconv.STREAM_OUTCOME)
    )


async def test_helper_async_openai(server, async_gpt, spans):
    """So is the async one."""
    server.script = CHAT_NOW
    async with async_gpt.chat.completions.stream(**CHAT) as stream:
        events = [event.type async for event in stream]
    assert ("content.done" in events, 2) == (True, only(spans).attributes[semconv.OUTPUT_CHUNKS])


def test_helper_anthropic(server, claude, spans):
    """The `stream()` helper of anthropic: `text_stream` yields the text, the final message is whole."""
    server.script = MESSAGE_NOW
    with claude.messages.stream(**MESSAGE) as stream:
        assert ["Hi"] == list(stream.text_stream)
        assert 6 == stream.get_final_message().usage.output_tokens
    span = only(spans)
    assert ("anthropic", 17, 1) == tuple(
        span.attributes[name] for name in ("gen_ai.provider.name", "gen_ai.usage.input_tokens", semconv.OUTPUT_CHUNKS)
    )


async def test_helper_async_anthropic(server, async_claude, spans):
    """So is the async one."""
    server.script = MESSAGE_NOW
    async with async_claude.messages.stream(**MESSAGE) as stream:
        assert "Hi" == await stream.get_final_text()
    assert 1 == only(spans).attributes[semconv.OUTPUT_CHUNKS]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_within_call(server, gpt, spans, is_streamed):
    """A request inside an LLM call of the user's is that call, with a stage between them too."""
    server.script, server.answer = CHAT_NOW, COMPLETION
    with llm_call("draft", provider="mine"), stage("http"):
        answer = gpt.chat.completions.create(**CHAT, stream=is_streamed)
        if is_streamed:
            list(answer)
    calls = [span for span in spans.get_finished_spans() if "gen_ai.operation.name" in span.attributes]
    assert [("draft", 6)] == [
        (span.attributes[semconv.TASK], span.attributes["gen_ai.usage.output_tokens"]) for span in calls
    ]


def test_parent(server, gpt, spans):
    """A call belongs to the stage around it, and what comes after it does not belong to the call."""
    server.script = CHAT_NOW
    with stage("outer"):
        stream = gpt.chat.completions.create(**CHAT, stream=True)
        with stage("while reading"):
            list(stream)
    parents = {span.name: span.parent and span.parent.span_id for span in spans.get_finished_spans()}
    outer = next(span.context.span_id for span in spans.get_finished_spans() if span.name == "outer")
    assert {"chat gpt-4o": outer, "while reading": outer, "outer": None} == parents


async def test_read_elsewhere(server, async_gpt, spans, caplog):
    """A stream may be read by another task than made the request."""
    server.script = CHAT_NOW
    stream = await async_gpt.chat.completions.create(**CHAT, stream=True)
    await asyncio.create_task(read_async(stream, ()))
    assert ("completed", []) == (only(spans).attributes[semconv.STREAM_OUTCOME], caplog.records)
    assert not trace.get_current_span().is_recording()


async def test_concurrent(server, async_gpt, spans):
    """Requests at the same time are a call each."""
    server.answer = COMPLETION
    await asyncio.gather(*(async_gpt.chat.completions.create(**CHAT) for _ in range(10)))
    assert 10 == len(spans.get_finished_spans())


# --- bad ends -----------------------------------------------------------------------------------------------------


def test_refused(server, gpt, spans):
    """A refused request raises the client's own error and ends the call with it."""
    server.status = 500
    with pytest.raises(openai.InternalServerError):
        gpt.chat.completions.create(**CHAT)
    assert ("error", "openai.InternalServerError") == tuple(
        only(spans).attributes[name] for name in (semconv.STATUS, "error.type")
    )


def test_broken(server, gpt, spans):
    """A stream that breaks raises the client's own error and ends the call with it."""
    server.script = [Step(0, chat(ROLE)), Step(0, WORD), Step(0.05, BREAK)]
    with pytest.raises(openai.APIConnectionError):
        list(gpt.chat.completions.create(**CHAT, stream=True))
    assert ("error", "broken") == tuple(
        only(spans).attributes[name] for name in (semconv.STATUS, semconv.STREAM_OUTCOME)
    )


def test_closed(server, gpt, spans):
    """To close a stream early is to cancel the call."""
    server.script = [Step(0, chat(ROLE)), Step(5, WORD)]
    with gpt.chat.completions.create(**CHAT, stream=True) as stream:
        next(stream)
    assert ("cancelled", "abandoned") == tuple(
        only(spans).attributes[name] for name in (semconv.STATUS, semconv.STREAM_OUTCOME)
    )


def test_dropped(server, gpt, spans):
    """A stream that is forgotten ends its call at the next occasion."""
    server.script = CHAT_NOW
    next(gpt.chat.completions.create(**CHAT, stream=True))
    gc.collect()
    settle_dropped()
    assert "abandoned" == only(spans).attributes[semconv.STREAM_OUTCOME]


async def test_cancelled(server, async_gpt, spans):
    """A cancelled read ends the call as cancelled."""
    server.script = [Step(0, chat(ROLE)), Step(5, WORD)]
    seen = asyncio.Event()

    async def reading():
        async for _ in await async_gpt.chat.completions.create(**CHAT, stream=True):
            seen.set()

    task = asyncio.create_task(reading())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ("cancelled", "cancelled") == tuple(
        only(spans).attributes[name] for name in (semconv.STATUS, semconv.STREAM_OUTCOME)
    )


# --- nothing changed ----------------------------------------------------------------------------------------------


def test_same_client(server):
    """The client itself comes back; wrapping it again changes nothing, and neither its class nor others are touched."""
    before = dict(vars(openai.OpenAI))
    client = openai.OpenAI(base_url=server.url, api_key="x")
    other = openai.OpenAI(base_url=server.url, api_key="x")
    assert client is wrap(client) is wrap(client)
    assert (before, False) == (dict(vars(openai.OpenAI)), "request" in vars(other))


def test_same_stream(server, gpt, claude):
    """Streams are still the clients' own by `isinstance`, with their attributes."""
    server.script = CHAT_NOW
    with gpt.chat.completions.create(**CHAT, stream=True) as stream:
        assert (True, 200) == (isinstance(stream, openai.Stream), stream.response.status_code)
    server.script = MESSAGE_NOW
    with claude.messages.create(**MESSAGE, stream=True) as stream:
        assert (True, 200) == (isinstance(stream, anthropic.Stream), stream.response.status_code)


def test_copies(server, gpt, spans):
    """A copy with other options is wrapped as well."""
    server.answer = COMPLETION
    gpt.with_options(timeout=5).chat.completions.create(**CHAT)
    gpt.copy().chat.completions.create(**CHAT)
    assert 2 == len(spans.get_finished_spans())


def test_raw_response(server, gpt, spans):
    """Raw responses come through."""
    server.answer = COMPLETION
    raw = gpt.chat.completions.with_raw_response.create(**CHAT)
    assert ("the answer", "chat gpt-4o") == (raw.parse().choices[0].message.content, only(spans).name)


def test_freed(server):
    """A wrapped client is freed as soon as nobody holds it."""
    client = wrap(openai.OpenAI(base_url=server.url, api_key="x"))
    gone = weakref.ref(client)
    gc.disable()
    try:
        del client
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (lambda url: openai.OpenAI(base_url=url, api_key="x"), "openai"),
        (lambda url: openai.OpenAI(base_url="https://api.deepseek.com/v1", api_key="x"), "deepseek"),
        (
            lambda url: openai.AzureOpenAI(azure_endpoint=url, api_key="x", api_version="1"),
            "azure.ai.openai",
        ),
        (lambda url: anthropic.Anthropic(base_url=url, api_key="x"), "anthropic"),
    ],
)
def test_provider(server, spans, client, expected):
    """Who serves the model is told by the client's class and address."""
    wrapped = wrap(client(server.url).with_options(max_retries=0))
    wrapped.base_url = server.url
    server.answer = COMPLETION
    if expected == "anthropic":
        server.answer = message_start()["message"]
        wrapped.messages.create(**MESSAGE)
    else:
        wrapped.chat.completions.create(**CHAT)
    assert expected == only(spans).attributes["gen_ai.provider.name"]


def test_names(server, spans):
    """Task and provider can be said."""
    server.answer = COMPLETION
    client = wrap(openai.OpenAI(base_url=server.url, api_key="x"), task="summary", provider="vllm")
    client.chat.completions.create(**CHAT)
    assert ("summary", "vllm") == tuple(only(spans).attributes[name] for name in (semconv.TASK, "gen_ai.provider.name"))


def test_unknown_client():
    """Anything else comes back as it is, with a word in the log."""
    thing = object()
    faults = guard.faults["wrap"]
    assert (thing, faults + 1) == (wrap(thing), guard.faults["wrap"])
    guard.faults["wrap"] = faults
    guard.faults += type(guard.faults)()


def test_tool_loop(server, spans, gpt):
    """Several requests inside one call add up, streamed or not, whoever else watches the stream."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    server.answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [], "usage": usage}
    server.script = [Step(0, chat(ROLE)), Step(0, WORD), Step(0, STOP), Step(0, chat(usage=usage)), DONE]
    with llm_call("agent", provider="openai") as call:
        gpt.chat.completions.create(**CHAT)
        list(gpt.chat.completions.create(**CHAT, stream=True))
        list(call.stream(gpt.chat.completions.create(**CHAT, stream=True)))
    (span,) = spans.get_finished_spans()
    assert (30, 15) == tuple(span.attributes[f"gen_ai.usage.{kind}_tokens"] for kind in ("input", "output"))
