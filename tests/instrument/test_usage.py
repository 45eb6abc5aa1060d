"""Token counts of each provider, in our words."""

from __future__ import annotations

import pytest
from instrument.provider_server import USAGE, chat, message_delta, message_start, response, response_event

from otel_latency.instrument.usage import Source, Tally, Usage, usage_of

RESPONSES = {
    "input_tokens": 9,
    "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}
GEMINI = {
    "prompt_token_count": 8,
    "candidates_token_count": 5,
    "thoughts_token_count": 2,
    "cached_content_token_count": 1,
}
COUNTS = {
    "OpenAI chat": (
        chat(usage=USAGE),
        {"input_tokens": 12, "output_tokens": 6, "cache_read_tokens": 4, "reasoning_tokens": 0},
    ),
    "OpenAI Responses": (
        response_event("completed", response=response("completed", RESPONSES)),
        {"input_tokens": 9, "output_tokens": 7, "cache_read_tokens": 3, "reasoning_tokens": 2},
    ),
    "Anthropic's input counts the cache apart": (
        message_start(),
        {"input_tokens": 17, "output_tokens": 1, "cache_read_tokens": 5, "cache_write_tokens": 2},
    ),
    "Gemini's output counts thoughts apart": (
        {"candidates": [], "usage_metadata": GEMINI},
        {"input_tokens": 8, "output_tokens": 7, "cache_read_tokens": 1, "reasoning_tokens": 2},
    ),
    "Gemini over REST": ({"usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 5}}, (8, 5)),
    "Ollama": ({"done": True, "prompt_eval_count": 4, "eval_count": 3}, (4, 3)),
    "LiteLLM's input has the cache in it": (
        {"usage": {"prompt_tokens": 17, "completion_tokens": 3, "cache_read_input_tokens": 5}},
        {"input_tokens": 17, "output_tokens": 3, "cache_read_tokens": 5},
    ),
    "embeddings": ({"usage": {"prompt_tokens": 5, "total_tokens": 5}}, {"input_tokens": 5}),
}


@pytest.mark.parametrize(("chunk", "expected"), COUNTS.values(), ids=COUNTS)
def test_counts(chunk, expected):
    """Input includes the cache, output includes reasoning."""
    if isinstance(expected, tuple):
        expected = dict(zip(("input_tokens", "output_tokens"), expected, strict=True))
    assert expected == usage_of(chunk).counts()


@pytest.mark.parametrize("chunk", [chat({"content": "Hi"}), "text", None, {"usage": None}, {"usage": {}}, {"usage": 3}])
def test_none(chunk):
    """Most chunks have none."""
    assert usage_of(chunk) is None


def test_later_counts():
    """Later counts replace earlier ones; what they leave out stays, the cache included."""
    merged = usage_of(message_start()).updated(usage_of(message_delta(output_tokens=40)))
    assert {"input_tokens": 17, "output_tokens": 40, "cache_read_tokens": 5, "cache_write_tokens": 2} == merged.counts()


@pytest.mark.parametrize("count", [-1, True, "12", 1.5])
def test_nonsense(count):
    """What is no count is left out."""
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": 2}}) == Usage(output_tokens=2)


TALLIES = {
    "expected, then counted": ([("add", {"input_tokens": 512}, Source.CLIENT)], {"input_tokens": 512}),
    "two responses of a client add up": (
        [("add", {"output_tokens": 5}, Source.CLIENT), ("add", {"output_tokens": 7}, Source.CLIENT)],
        {"input_tokens": 500, "output_tokens": 12},
    ),
    "one response that several have counted is one": (
        [("add", {"output_tokens": 4}, Source.INNER_SPAN), ("add", {"output_tokens": 5}, Source.CLIENT)],
        {"input_tokens": 500, "output_tokens": 5},
    ),
    "who counts less has not seen every response": (
        [
            ("add", {"output_tokens": 5}, Source.CLIENT),
            ("add", {"output_tokens": 7}, Source.CLIENT),
            ("add", {"output_tokens": 7}, Source.STREAM),
        ],
        {"input_tokens": 500, "output_tokens": 12},
    ),
    "the user's word goes first, by name": (
        [("add", {"input_tokens": 9, "output_tokens": 5}, Source.STREAM), ("say", {"output_tokens": 6}, False)],
        {"input_tokens": 9, "output_tokens": 6},
    ),
    "a count told again is the next response's": (
        [
            ("say", {"input_tokens": 10, "output_tokens": 1}, False),
            ("say", {"input_tokens": 20, "output_tokens": 2}, False),
        ],
        {"input_tokens": 30, "output_tokens": 3},
    ),
    "in two words": (
        [("say", {"input_tokens": 10}, False), ("say", {"output_tokens": 1}, False)],
        {"input_tokens": 10, "output_tokens": 1},
    ),
    "while a stream runs, its counts so far": (
        [("say", {"output_tokens": n}, True) for n in (1, 2, 3)],
        {"input_tokens": 500, "output_tokens": 3},
    ),
    "and at its end, its counts": (
        [
            ("say", {"output_tokens": 3}, True),
            ("say", {"output_tokens": 4}, False),
            ("say", {"output_tokens": 5}, False),
        ],
        {"input_tokens": 500, "output_tokens": 9},
    ),
    "two streams with running counts": (
        [("say", {"output_tokens": 3}, True), ("stream",), ("say", {"output_tokens": 4}, True)],
        {"input_tokens": 500, "output_tokens": 7},
    ),
    "the input told before its stream is the stream's": (
        [("say", {"input_tokens": 3}, False), ("stream",), ("say", {"input_tokens": 4, "output_tokens": 1}, False)],
        {"input_tokens": 4, "output_tokens": 1},
    ),
}


@pytest.mark.parametrize(("told", "expected"), TALLIES.values(), ids=TALLIES)
def test_tally(told, expected):
    """Several responses in one call add up; several counts of one response do not."""
    tally = Tally(500)
    for what, *values in told:
        if what == "add":
            tally.add(*values)
        elif what == "say":
            tally.say(values[0], is_running=values[1])
        else:
            tally.next_stream()
    assert expected == tally.totals()
