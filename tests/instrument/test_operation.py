"""One operation with everything around it: times, progress, retries, the breaker and the record of its end."""

import asyncio
import json
import logging
import threading
import time

import openai
import pytest
from aiohttp import ClientResponseError, ClientSession, web
from aiohttp.test_utils import TestServer
from instrument.virtual import in_virtual_time

from otel_latency.errors import CircuitOpen, StageTimeout
from otel_latency.instrument import operation as module
from otel_latency.instrument.breaker import Breakers
from otel_latency.instrument.history import History, Outcome
from otel_latency.instrument.limiter import RateLimiter, RateLimits
from otel_latency.instrument.operation import current_operation, run, run_sync
from otel_latency.instrument.stage import stage
from otel_latency.instrument.tracker import PerformanceTracker

WHO = {"task": "script_generation", "provider": "openai"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """History, breakers and limits of this test alone."""
    monkeypatch.setattr(module, "history", History())
    monkeypatch.setattr(module, "breakers", Breakers(threshold=5))
    monkeypatch.setattr(module, "limits", RateLimits())


def known(*seconds):
    for each in seconds:
        module.history.record(Outcome(seconds=each, **WHO))


def outcomes():
    return module.history.of("openai", "script_generation")


class Unavailable(Exception):
    status_code = 503


class Refused(Exception):
    status_code = 401


async def draft(seconds=1.0):
    await asyncio.sleep(seconds)
    return "script"


def failing(*errors):
    """A function that raises each error once, then answers."""
    left = list(errors)

    async def call():
        if left:
            raise left.pop(0)
        return "script"

    return call


@in_virtual_time
async def test_result(spans):
    """The caller gets the function's result; the span and the history know what it took."""
    assert "script" == await run(draft, 2.0, model="gpt-4o", input_tokens=500, **WHO)
    (outcome,) = outcomes()
    assert ("ok", 2.0, "gpt-4o", 500, 0, "") == (
        outcome.status,
        outcome.seconds,
        outcome.model,
        outcome.input_tokens,
        outcome.retries,
        outcome.category,
    )
    (span,) = spans
    expected = {
        "otel_latency.task": "script_generation",
        "otel_latency.timeout": 120.0,
        "otel_latency.retries": 0,
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 500,
    }
    assert expected == {name: span.attributes[name] for name in expected}
    assert ["attempt"] == [event.name for event in span.events]


@in_virtual_time
async def test_progress():
    """Every 5 s: elapsed, the estimate, what is left of it, and words, which change when it takes longer than most."""
    known(*[20.0] * 60)
    told = []
    await run(draft, 26.0, on_progress=told.append, **WHO)
    assert [5.0, 10.0, 15.0, 20.0, 25.0] == [each.elapsed for each in told]
    assert pytest.approx([20.0] * 5, rel=0.01) == [each.estimate for each in told]
    assert pytest.approx([15.0, 10.0, 5.0], rel=0.2) == [each.remaining for each in told[:3]]
    assert True is all(each.remaining > 0 for each in told)
    assert "script_generation: typically takes 20–21 seconds, 5 s elapsed" == told[0].message
    assert told[-1].message.startswith("script_generation takes longer than 9 in 10 before it: likely")


@in_virtual_time
async def test_warning(caplog):
    """Once, at half of the timeout, to both callbacks and the log."""
    progress, warnings = [], []
    with caplog.at_level(logging.INFO, logger="otel_latency"):
        await run(draft, 110.0, on_progress=progress.append, on_warning=warnings.append, **WHO)
    assert [60.0] == [each.elapsed for each in warnings]
    assert 60.0 == min(each.elapsed for each in progress if each.is_warning)
    assert len(progress) == 21
    assert [
        "LLM operation: openai script_generation is taking longer than usual (60 s / 120 s, 50 %)",
        "LLM operation: openai script_generation completed in 110000 ms (tokens: 0, retries: 0)",
    ] == caplog.messages


@in_virtual_time
async def test_timeout(caplog):
    """The task's timeout ends it, and StageTimeout is a TimeoutError."""
    cancelled = []

    async def stuck():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time())
            raise

    with pytest.raises(TimeoutError) as late:
        await run(stuck, **WHO)
    (outcome,) = outcomes()
    assert (StageTimeout, [120.0], "timeout", "network") == (
        type(late.value),
        cancelled,
        outcome.status,
        outcome.category,
    )


@in_virtual_time
async def test_own_timeout():
    """A timeout given to the call goes before the task's; infinity is none."""
    with pytest.raises(StageTimeout):
        await run(draft, 3.0, timeout=2.0, **WHO)
    assert "script" == await run(draft, 500.0, timeout=float("inf"), **WHO)


@in_virtual_time
async def test_extended():
    """More time can be asked for while it runs, from within or from a callback, and moves the warning too."""
    warnings = []

    async def long():
        current_operation().extend(60.0)
        await asyncio.sleep(170)
        return "script"

    assert "script" == await run(long, on_warning=warnings.append, **WHO)
    assert [90.0] == [each.elapsed for each in warnings]
    assert None is current_operation()


@in_virtual_time
async def test_cancelled():
    """A cancellation reaches the function, comes back out as itself, and is recorded."""
    task = asyncio.create_task(run(draft, 50.0, **WHO))
    await asyncio.sleep(10)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    (outcome,) = outcomes()
    assert ("cancelled", 10.0, "") == (outcome.status, outcome.seconds, outcome.category)
    assert "closed" == module.breakers.of("openai").state


@in_virtual_time
async def test_retries(spans, caplog):
    """Transient failures are tried again: told to the callback, the log, the tracker, and on the span, each attempt."""
    told = []
    with PerformanceTracker() as tracker, caplog.at_level(logging.INFO, logger="otel_latency"):
        await run(failing(Unavailable(), ConnectionResetError()), on_retry=told.append, **WHO)
    assert [
        ("script_generation", 1, 3, "service temporarily unavailable", True),
        ("script_generation", 2, 3, "network error", True),
    ] == [(*each[:4], 2 ** (each.attempt - 1) <= each.delay <= 2**each.attempt) for each in told]
    (span,) = spans
    assert ["attempt", "retry", "attempt", "retry", "attempt"] == [event.name for event in span.events]
    assert ["unavailable", "network"] == [
        event.attributes["otel_latency.retry_reason"] for event in span.events if event.name == "retry"
    ]
    assert (2, 1, 1, None) == (
        span.attributes["otel_latency.retries"],
        span.attributes["otel_latency.retry_reasons.unavailable"],
        span.attributes["otel_latency.retry_reasons.network"],
        span.attributes.get("otel_latency.error_category"),
    )
    assert (2, 2, True) == (
        outcomes()[0].retries,
        tracker.stats().retries_performed,
        caplog.messages[0].startswith("LLM operation: openai script_generation retry 1/3 due to service temporarily"),
    )


@in_virtual_time
async def test_permanent():
    """A refused key is not tried again, and the error is the client's own."""
    error = Refused()
    with pytest.raises(Refused) as raised:
        await run(failing(error), **WHO)
    assert (True, 0, "api", "Refused") == (
        raised.value is error,
        outcomes()[0].retries,
        outcomes()[0].category,
        outcomes()[0].error_type,
    )


@in_virtual_time
async def test_no_retry_after_the_first_token():
    """What the user has begun to read is not begun again."""
    calls = []

    async def stream():
        calls.append(1)
        current_operation().call.milestone("first_token")
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await run(stream, **WHO)
    assert 1 == len(calls)


@in_virtual_time
async def test_no_retry_beyond_the_timeout():
    """A retry that could only end in the timeout is not waited for: the caller learns what was wrong at once."""

    class Busy(Exception):
        status_code = 429
        headers = {"retry-after": "600"}

    with pytest.raises(Busy):
        await run(failing(Busy()), **WHO)
    assert 0.0 == asyncio.get_running_loop().time()


@in_virtual_time
async def test_circuit(spans):
    """Repeated failures of a provider open its circuit; then its calls are refused at once, and others are not."""
    for _ in range(3):
        with pytest.raises(Unavailable):
            await run(failing(*[Unavailable() for _ in range(9)]), retries=1, **WHO)
    with pytest.raises(CircuitOpen) as refused:
        await run(draft, **WHO)
    assert isinstance(refused.value, ConnectionError)
    assert "script" == await run(draft, task="script_generation", provider="anthropic")
    assert ({"openai": "open", "anthropic": "closed"}, 3) == (module.breakers.states(), len(outcomes()))


@in_virtual_time
async def test_timeouts_open_the_circuit():
    """A provider that lets calls run into their timeouts is failing as well."""
    for _ in range(5):
        with pytest.raises(StageTimeout):
            await run(draft, 10.0, timeout=1.0, **WHO)
    assert "open" == module.breakers.of("openai").state


@in_virtual_time
async def test_bugs_do_not_open_the_circuit():
    """Errors of the caller's own code and refused requests say nothing against the provider."""
    for error in [KeyError("x"), Refused()] * 4:
        with pytest.raises(type(error)):
            await run(failing(error), **WHO)
    assert "closed" == module.breakers.of("openai").state


@in_virtual_time
async def test_rate_limit(spans):
    """The wait for a rate limit is a stage before the call, not part of it."""
    loop = asyncio.get_running_loop()
    module.limits.put("openai", RateLimiter(requests_per_minute=1, monotonic=loop.time))
    await run(draft, **WHO)
    await run(draft, **WHO)
    assert (61.0, [1.0, 1.0]) == (loop.time(), [each.seconds for each in outcomes()])
    assert ["rate_limit", "chat", "rate_limit", "chat"] == [span.name for span in spans]


@in_virtual_time
async def test_records(caplog):
    """At DEBUG there is one JSON record per operation, and no text of the error in any line."""
    with caplog.at_level(logging.DEBUG, logger="otel_latency"), pytest.raises(Refused):
        await run(failing(Refused("the key was sk-secret")), input_tokens=500, **WHO)
    (record,) = [message for message in caplog.messages if "{" in message]
    said = json.loads(record[record.index("{") :])
    assert ("openai", "script_generation", 500, "error", "api") == tuple(
        said[name] for name in ("provider", "task", "input_tokens", "status", "category")
    )
    assert "sk-secret" not in caplog.text


@in_virtual_time
async def test_callbacks_that_fail():
    """A callback that raises, or is a coroutine function, disturbs nothing."""
    heard = []

    async def listen(progress):
        await asyncio.sleep(1)
        heard.append(progress.elapsed)

    def broken(_progress):
        raise ValueError("the user's")

    assert "script" == await run(draft, 70.0, on_progress=listen, on_warning=broken, **WHO)
    assert ([5.0, 10.0], 13) == (heard[:2], len(heard))


@in_virtual_time
async def test_nested_context(spans):
    """Stages in the function are children of the call; after it the caller's context is as before."""

    @stage("retrieve")
    async def retrieve():
        return current_operation().task

    assert "script_generation" == await run(retrieve, **WHO)
    inner, call = spans
    assert (call.context.span_id, None) == (inner.parent.span_id, call.parent)


def test_plain_function(spans):
    """A plain function runs in a thread of its own, with its spans in the right place; programs need no event loop."""

    def work(word):
        with stage("inside"):
            return word, threading.current_thread() is threading.main_thread()

    assert ("done", False) == run_sync(work, "done", **WHO)
    inner, call = spans
    assert call.context.span_id == inner.parent.span_id


def test_plain_function_that_is_stuck():
    """The caller of a stuck plain function gets its timeout; the thread is left behind."""
    release = threading.Event()
    began = time.monotonic()
    with pytest.raises(StageTimeout):
        run_sync(release.wait, timeout=0.05, **WHO)
    release.set()
    assert time.monotonic() - began < 5


@in_virtual_time
async def test_lambda():
    """A function that only returns an awaitable has it awaited in the caller's loop."""
    loop = asyncio.get_running_loop()

    async def where():
        return asyncio.get_running_loop()

    assert loop is await run(lambda: where(), **WHO)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_exits(error):
    """An exit passes through as the same object, and is recorded."""

    async def leave():
        raise error

    with pytest.raises(type(error)) as raised:
        asyncio.run(run(leave, **WHO))
    assert (True, "cancelled") == (raised.value is error, outcomes()[0].status)


@in_virtual_time
async def test_many_at_once():
    """A thousand operations beside each other each know themselves."""

    async def who(number):
        await asyncio.sleep(number % 7)
        return number, current_operation().call.task

    results = await asyncio.gather(*(run(who, n, task=f"t{n}", provider="openai") for n in range(1000)))
    assert [(n, f"t{n}") for n in range(1000)] == results


CHAT = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}


class Provider:
    """A model host on loopback that answers as told, one (status, headers) per request, and then well."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.times = []
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        self.server = TestServer(app)

    async def answer(self, _request):
        self.times.append(asyncio.get_running_loop().time())
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        if status is None:
            raise ConnectionResetError  # aiohttp drops the connection
        return web.json_response(
            CHAT if status == 200 else {"error": {"message": "no"}}, status=status, headers=headers
        )

    async def __aenter__(self):
        await self.server.start_server()
        self.url = str(self.server.make_url("/v1"))
        return self

    async def __aexit__(self, *_failure):
        await self.server.close()


async def ask_with_aiohttp(provider):
    async with (
        ClientSession(raise_for_status=True) as client,
        client.post(f"{provider.url}/chat/completions") as answer,
    ):
        return (await answer.json())["id"]


async def ask_with_openai(provider):
    async with openai.AsyncOpenAI(base_url=provider.url, api_key="x", max_retries=0) as client:
        return (await client.chat.completions.create(model="m", messages=[])).id


ASK = pytest.mark.parametrize("ask", [ask_with_aiohttp, ask_with_openai], ids=["aiohttp", "openai"])


@ASK
async def test_real_retries(ask):
    """Over HTTP: 429 waits as long as the server asks, 502 to 504 are tried again, on the schedule."""
    reasons = []
    async with Provider((429, {"Retry-After": "0.4"}), (503, {}), (504, {})) as provider:
        answer = await run(ask, provider, retry_base_delay=0.01, on_retry=lambda r: reasons.append(r.reason), **WHO)
        waits = [later - earlier for earlier, later in zip(provider.times, provider.times[1:], strict=False)]
    assert ("1", ["rate limit exceeded", "service temporarily unavailable", "gateway error"]) == (answer, reasons)
    assert (True, True, True) == (0.4 <= waits[0] < 2, waits[1] >= 0.02, waits[2] >= 0.04)


@ASK
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_real_refusals(ask, status):
    """Over HTTP: what the server refuses is not asked again."""
    async with Provider((status, {"Retry-After": "0"})) as provider:
        with pytest.raises((ClientResponseError, openai.APIStatusError)):
            await run(ask, provider, **WHO)
    assert 1 == len(provider.times)


@ASK
async def test_real_connection(ask):
    """A server that is not there is a network error."""
    async with Provider() as provider:
        pass
    with pytest.raises((OSError, openai.APIConnectionError)):
        await run(ask, provider, retries=1, retry_base_delay=0.01, **WHO)
    assert [("network", 1)] == [(each.category, each.retries) for each in outcomes()]


@pytest.mark.parametrize("kind", ["coroutine", "plain"])
async def test_run_sync_in_a_running_loop(spans, kind):
    """As in a notebook: the result comes, under the caller's span."""

    async def draft(topic):
        return topic

    with stage("cell"):
        assert "cats" == run_sync(draft if kind == "coroutine" else str, "cats", **WHO)
    call, cell = spans
    assert call.parent.span_id == cell.context.span_id
