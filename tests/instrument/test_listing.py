"""The listing that users meet first, as it stands there, with their own parts stubbed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import otel_latency as latency

INDEX = SimpleNamespace(search=lambda query: [query, "more"])


class Client:
    async def stream(self, prompt):
        for text in ("Hello", " world."):
            yield SimpleNamespace(text=text)


def make_answer(index, client, prompt):
    """The listing of the README."""

    @latency.stage("retrieve", budget=0.3)
    def retrieve(query):
        return index.search(query)

    async def answer(question, session_id):
        async with latency.turn("answer", session=session_id, budget=2.0) as turn:
            docs, text = retrieve(question), ""
            async with latency.llm_call(
                "draft_reply", provider="openai", model="gpt-4o", input_tokens=500, timeout=15.0
            ) as call:
                async for chunk in call.stream(client.stream(prompt)):
                    text += chunk.text
                call.usage(input_tokens=512, output_tokens=90)
            with latency.stage("tts") as tts:
                tts.milestone("first_audio")
            turn.set(documents=len(docs))
        return text

    return answer


def test_first_listing(spans):
    """It runs, answers what it would without us, and gives the spans that it promises."""
    assert "Hello world." == asyncio.run(make_answer(INDEX, Client(), "?")("why", "s1"))
    by_name = {span.name: span for span in spans}
    assert ["retrieve", "chat gpt-4o", "tts", "answer"] == [span.name for span in spans]
    answer, call = by_name["answer"], by_name["chat gpt-4o"]
    assert {answer.context.span_id} == {span.parent.span_id for span in spans if span is not answer}
    assert (2, "s1", "answer") == tuple(
        answer.attributes[key] for key in ("documents", "session.id", "otel_latency.turn")
    )
    assert {"first_token", "first_audio"} <= {event.name for event in answer.events}
    assert 512 == call.attributes["gen_ai.usage.input_tokens"]
    assert call.attributes["otel_latency.time_to_first_token"] > 0


def test_first_listing_without_a_provider():
    """Without anything configured it answers the same."""
    assert "Hello world." == asyncio.run(make_answer(INDEX, Client(), "?")("why", "s1"))
