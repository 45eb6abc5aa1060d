"""What type checkers make of the public API: read by mypy in `test_typing`, never run.

An `assert_type` that does not hold is an error, and so is an ignored error that does not occur.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import otel_latency as latency


async def draft(topic: str, words: int = 100) -> bytes:
    return topic.encode() * words


def count(topic: str) -> int:
    return len(topic)


async def operations() -> None:
    who = latency.estimate("draft", provider="openai")
    assert_type(who.seconds, float)
    assert_type(await latency.run(draft, "cats", 3, task="draft", provider="openai"), bytes)
    assert_type(await latency.run(count, "cats", task="draft", provider="openai", retries=1), int)
    assert_type(latency.run_sync(draft, "cats", 3, task="draft", provider="openai"), bytes)
    assert_type(latency.run_sync(count, "cats", task="draft", provider="openai"), int)
    await latency.run(count, 3, task="draft", provider="openai")  # type: ignore[arg-type]
    await latency.run(count, "cats", task="draft")  # type: ignore[call-overload]
    await latency.run(count, "cats", task="draft", provider="openai", retry=3)  # type: ignore[call-overload]
    await latency.run(
        draft, "cats", 3, task="d", provider="p", on_progress=lambda p: p.message, on_retry=lambda r: r.reason
    )


async def concurrency() -> None:
    results = await latency.gather_bounded(draft, ["cats", "dogs"], limit=2)
    assert_type(results, latency.Gathered[bytes])
    assert_type(results.successes, list[bytes])
    assert_type(await latency.gather_bounded(count, ["cats"]), latency.Gathered[int])
    async for event in latency.progress_events(job_id="abc"):
        assert_type(event, dict[str, Any])


@latency.stage("retrieve", budget=0.3)
def retrieve(query: str) -> list[str]:
    return [query]


@latency.llm_call("draft", provider="openai")
async def tokens(prompt: str) -> AsyncIterator[str]:
    yield prompt


@latency.turn("answer")
async def answer(question: str) -> str:
    return question


@latency.retry(retries=2)
async def fetch(url: str) -> int:
    return len(url)


@latency.retry
def fetch_now(url: str) -> int:
    return len(url)


async def decorated() -> None:
    """Signatures stay."""
    assert_type(retrieve("x"), list[str])
    assert_type(tokens("x"), AsyncIterator[str])
    assert_type(await answer("x"), str)
    assert_type(await fetch("x"), int)
    assert_type(fetch_now("x"), int)
    assert_type(latency.carry(count)("x"), int)
    retrieve(3)  # type: ignore[arg-type]


async def blocks(chunks: AsyncIterator[str], lines: Iterator[bytes]) -> None:
    async with latency.turn("answer", session="s1") as turn, latency.llm_call("draft", provider="openai") as call:
        assert_type(call.stream(chunks), AsyncIterator[str])
        assert_type(call.stream(lines), Iterator[bytes])
        call.usage(input_tokens=1)
        turn.set(documents=2)
    with latency.stage("tts", after=(call, "first_sentence")) as tts:
        tts.milestone("first_audio")
    assert_type(latency.current_turn() is None, bool)
    with latency.track("transcribe"):
        latency.log_timing("id", "v34", latency.Events.V34_OLLAMA_SENT, {"temperature": 0.4})
    headers: dict[str, str] = latency.inject({})
    with latency.extract(headers):
        pass
    latency.stage("x", budget="soon")  # type: ignore[arg-type]
