"""What is transient is tried again, on its schedule, and the user's exception stays the user's."""

import asyncio
import random
import subprocess
import sys
import traceback
from functools import partial

import pytest
import stamina
from instrument.virtual import in_virtual_time

from otel_latency.instrument.llm import llm_call
from otel_latency.instrument.retry import Retry, Retrying, retry, schedule


class Unavailable(Exception):
    status_code = 503


class RateLimited(Exception):
    status_code = 429
    headers = {"retry-after": "30"}


class Refused(Exception):
    status_code = 400


class Flaky:
    """Raises each of *errors* once, then answers; notes the loop's time of each call."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.times = []

    async def __call__(self):
        self.times.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    @property
    def waits(self):
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@in_virtual_time
async def test_schedule():
    """Waits grow from 1-2 to 2-4 to 4-8 seconds, drawn anew each time."""
    for _ in range(20):
        flaky = Flaky(Unavailable(), Unavailable(), Unavailable())
        assert "answer" == await Retrying("draft", 3).call(flaky)
        assert [True] * 3 == [low <= wait <= 2 * low for low, wait in zip((1, 2, 4), flaky.waits, strict=True)]


def test_jitter():
    """The wait is spread evenly over its range."""
    drawn = sorted(schedule(2, random.Random(1).uniform) for _ in range(1)) + sorted(
        map(partial(schedule, uniform=random.Random(2).uniform), [2] * 1000)
    )
    assert (True, True, True) == (min(drawn) >= 2, max(drawn) <= 4, 2.9 < sum(drawn) / len(drawn) < 3.1)


@in_virtual_time
async def test_retry_after():
    """What the server asks for takes the place of the schedule."""
    flaky = Flaky(RateLimited())
    await Retrying("draft", 3).call(flaky)
    assert pytest.approx([30.0]) == flaky.waits


@in_virtual_time
async def test_gives_up():
    """After the last retry the function's own exception is raised, with its traceback and without a context of ours."""
    last = Unavailable("last")
    flaky = Flaky(Unavailable(), Unavailable(), Unavailable(), last)
    with pytest.raises(Unavailable) as raised:
        await Retrying("draft", 3).call(flaky)
    assert (True, 4, None, None) == (raised.value is last, len(flaky.times), last.__context__, last.__cause__)
    assert "__call__" in [frame.name for frame in traceback.extract_tb(last.__traceback__)]


@pytest.mark.parametrize("error", [Refused(), KeyError("x"), MemoryError()], ids=["400", "bug", "memory"])
@in_virtual_time
async def test_permanent(error):
    """What will not change is not tried again."""
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        await Retrying("draft", 3).call(flaky)
    assert 1 == len(flaky.times)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_base_exceptions(error):
    """A cancellation or an exit passes through as the same object."""

    def cancelled():
        raise error

    with pytest.raises(type(error)) as raised:
        Retrying("draft", 3).call_blocking(cancelled)
    assert raised.value is error


@in_virtual_time
async def test_veto():
    """Who runs the operation may forbid a retry."""
    flaky = Flaky(Unavailable())
    with pytest.raises(Unavailable):
        await Retrying("draft", 3, allowed=lambda _failure, _delay: False).call(flaky)
    assert 1 == len(flaky.times)


@in_virtual_time
async def test_notified():
    """Each retry is told before its wait, with everything that a callback needs."""
    told = []
    retrying = Retrying("draft", 3, notify=lambda retry, failure: told.append((retry, failure.reason)))
    await retrying.call(Flaky(RateLimited(), RateLimited()))
    assert [
        (Retry("draft", 1, 3, "rate limit exceeded", 30.0), "rate_limit"),
        (Retry("draft", 2, 3, "rate limit exceeded", 30.0), "rate_limit"),
    ] == told
    assert "draft retry 1/3 due to rate limit exceeded, in 30.0 s" == str(told[0][0])


@in_virtual_time
async def test_stamina_sees_no_text():
    """stamina's hooks, which log what they see, see a reason and no text of the provider's."""
    seen = []
    stamina.instrumentation.set_on_retry_hooks([seen.append])
    try:
        await Retrying("draft", 3).call(Flaky(Unavailable("the prompt was: my secret")))
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)
    assert ["_Failed('unavailable')"] == [repr(details.caused_by) for details in seen]


def test_stamina_testing_mode():
    """An application's tests turn the waits off as they do for stamina itself."""
    calls = []

    @retry
    def fetch():
        calls.append(1)
        raise Unavailable

    with stamina.set_testing(True, attempts=2), pytest.raises(Unavailable):
        fetch()
    assert 2 == len(calls)


@in_virtual_time
async def test_decorator():
    """A decorated coroutine function keeps its name and arguments, and tells of its retries."""
    told = []
    flaky = Flaky(Unavailable())

    @retry(retries=1, base_delay=10.0, on_retry=told.append)
    async def draft(topic, *, tone):
        return await flaky(), topic, tone

    assert ("answer", "cats", "dry") == await draft("cats", tone="dry")
    assert ("draft", True, True) == (draft.__name__, asyncio.iscoroutinefunction(draft), 10 <= flaky.waits[0] <= 20)
    assert [("draft", 1, 1)] == [each[:3] for each in told]


def test_decorator_refuses_generators():
    """A generator cannot take back what it has yielded; the message says what to do instead."""

    def stream():
        yield "token"

    with pytest.raises(TypeError, match="decorate the call that opens its stream instead"):
        retry(stream)


@in_virtual_time
async def test_decorator_in_a_call(spans):
    """Inside an LLM call the retries stand on its span: an event each, and how many for which reason."""
    with llm_call("draft", provider="p"):
        await retry(Flaky(Unavailable(), RateLimited(), Unavailable()).__call__)()
    (span,) = spans
    assert ["unavailable", "rate_limit", "unavailable"] == [
        event.attributes["otel_latency.retry_reason"] for event in span.events
    ]
    assert {"retries": 3, "retry_reasons.unavailable": 2, "retry_reasons.rate_limit": 1} == {
        name.removeprefix("otel_latency."): count for name, count in span.attributes.items() if "retr" in name
    }


def test_silent_without_logging():
    """Where no logging is set up, retries print nothing."""
    program = """
import stamina
from otel_latency import retry
failures = [ConnectionError(), ConnectionError()]
@retry(base_delay=0.001)
def fetch():
    if failures:
        raise failures.pop()
    return "fetched"
print(fetch())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ("fetched\n", "") == (ended.stdout, ended.stderr)
