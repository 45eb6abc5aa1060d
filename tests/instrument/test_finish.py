"""Why a model stopped, in each provider's shape."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import pytest
from instrument.provider_server import ROLE, chat

from otel_latency.instrument.context import current
from otel_latency.instrument.finish import finish_reasons
from otel_latency.instrument.llm import llm_call


class GeminiReason(Enum):
    MAX_TOKENS = 2


SHAPES = {
    "OpenAI chat": (chat({}, finish="length"), ["length"]),
    "midway": (chat({"content": "Hi"}), []),
    "n > 1": ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, ["stop", "length"]),
    "Anthropic's stream": ({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}, ["max_tokens"]),
    "Anthropic's message": ({"type": "message", "stop_reason": "end_turn"}, ["end_turn"]),
    "Gemini": (SimpleNamespace(candidates=[SimpleNamespace(finish_reason=GeminiReason.MAX_TOKENS)]), ["MAX_TOKENS"]),
    "Gemini over REST": ({"candidates": [{"finishReason": "STOP"}]}, ["STOP"]),
    "Ollama": ({"done": True, "message": {}, "done_reason": "stop"}, ["stop"]),
    "OpenAI Responses": (
        {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
        ["max_output_tokens"],
    ),
    "no reason but a text": ({"choices": [{"finish_reason": "x" * 100}]}, []),
    "text": ("finish_reason", []),
    "nothing": (None, []),
}


@pytest.mark.parametrize(("chunk", "expected"), SHAPES.values(), ids=SHAPES)
def test_finish_reasons(chunk, expected):
    """In the provider's words, one for each answer."""
    assert expected == finish_reasons(chunk)


ENDINGS = {
    "stop": ([chat({}, finish="stop")], ("ok", None, ("stop",))),
    "length: whole, as far as the protocol goes": ([chat({}, finish="length")], ("ok", None, ("length",))),
    "cut off without an error": ([], ("error", "stream_truncated", None)),
}


@pytest.mark.parametrize(("last", "expected"), ENDINGS.values(), ids=ENDINGS)
def test_status(spans, last, expected):
    """A stream that ends too early is an error though nothing was raised, and is told from one that hit its limit."""
    with llm_call("draft", provider="p") as call:
        list(call.stream(iter([chat(ROLE), chat({"content": "Hi"}), *last])))
    said = spans[0].attributes
    assert expected == (
        said.get("otel_latency.status", "ok"),
        said.get("error.type"),
        said.get("gen_ai.response.finish_reasons"),
    )


def test_the_callers_own_error_goes_first(spans):
    """What the block raised is told, also after a stream that was cut off."""

    @llm_call("draft", provider="p")
    def draft():
        list(current().stream(iter([chat({"content": "Hi"})])))
        raise ValueError

    with pytest.raises(ValueError):
        draft()
    assert "ValueError" == spans[0].attributes["error.type"]
