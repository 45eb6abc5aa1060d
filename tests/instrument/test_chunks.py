"""What each provider's chunks say: as dicts, as objects, and as the lines of a raw body."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from anthropic.types import RawMessageStreamEvent
from instrument.provider_server import (
    MESSAGE_STOP,
    ROLE,
    USAGE,
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
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import TypeAdapter

from otel_latency.instrument.chunks import Kind, Reader, classify, is_final


def gemini(*parts, finish=None, **fields):
    return {"candidates": [{"content": {"parts": list(parts)}, "finish_reason": finish}], **fields}


def ollama(done=False, **message):
    return {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": done}


CHUNKS = {
    "chat: role": (chat(ROLE), "framing"),
    "chat: content": (chat({"content": "Hi"}), "content"),
    "chat: empty content": (chat({"content": ""}), "framing"),
    "chat: role and content at once": (chat({"role": "assistant", "content": "Hi"}), "content"),
    "chat: reasoning_content": (chat({"content": None, "reasoning_content": "Hm"}), "reasoning"),
    "chat: reasoning": (chat({"content": "", "reasoning": "Hm"}), "reasoning"),
    "chat: empty reasoning": (chat({"role": "assistant", "reasoning_content": ""}), "framing"),
    "chat: tool name": (chat(tool("", "find")), "tool"),
    "chat: tool arguments": (chat(tool('{"q"')), "tool"),
    "chat: tool without either": (chat(tool("")), "framing"),
    "chat: refusal": (chat({"refusal": "No"}), "content"),
    "chat: finish": (chat({}, finish="stop"), "framing"),
    "chat: usage": (chat(usage=USAGE), "usage"),
    "chat: no choices": (chat(choices=[]), "framing"),
    "chat: second choice": (chat({"content": "Hi"}, index=1), "content"),
    "chat: one of two choices has text": (
        chat(choices=[{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "Hi"}}]),
        "content",
    ),
    "chat: Mistral's thinking part": (chat({"content": [{"type": "thinking", "thinking": "Hm"}]}), "reasoning"),
    "completions: text": ({"choices": [{"index": 0, "text": "Hi"}]}, "content"),
    "responses: created": (response_event("created", response=response("in_progress")), "framing"),
    "responses: item added": (response_event("output_item.added", item={}), "framing"),
    "responses: text": (response_event("output_text.delta", delta="Hi"), "content"),
    "responses: empty text": (response_event("output_text.delta", delta=""), "framing"),
    "responses: text done": (response_event("output_text.done", text="Hi"), "framing"),
    "responses: reasoning text": (response_event("reasoning_text.delta", delta="Hm"), "reasoning"),
    "responses: reasoning summary": (response_event("reasoning_summary_text.delta", delta="Hm"), "reasoning"),
    "responses: arguments": (response_event("function_call_arguments.delta", delta="{"), "tool"),
    "responses: custom tool": (response_event("custom_tool_call_input.delta", delta="x"), "tool"),
    "responses: refusal": (response_event("refusal.delta", delta="No"), "content"),
    "responses: completed": (response_event("completed", response=response("completed")), "usage"),
    "anthropic: start": (message_start(), "framing"),
    "anthropic: block start": (block_start(), "framing"),
    "anthropic: tool block start": (block_start("tool_use"), "framing"),
    "anthropic: text": (block_delta("text_delta", "Hi"), "content"),
    "anthropic: empty text": (block_delta("text_delta", ""), "framing"),
    "anthropic: thinking": (block_delta("thinking_delta", "Hm"), "reasoning"),
    "anthropic: input": (block_delta("input_json_delta", "{"), "tool"),
    "anthropic: empty input": (block_delta("input_json_delta", ""), "framing"),
    "anthropic: block stop": (block_stop(), "framing"),
    "anthropic: delta": (message_delta(), "usage"),
    "anthropic: stop": (MESSAGE_STOP, "framing"),
    "anthropic: ping": ({"type": "ping"}, "framing"),
    "helper: repeats the text": ({"type": "text", "text": "Hi", "snapshot": "Hi"}, "framing"),
    "helper: holds a chunk": ({"type": "chunk", "chunk": chat({"content": "Hi"})}, "content"),
    "helper: repeats the content": ({"type": "content.delta", "delta": "Hi", "snapshot": "Hi"}, "framing"),
    "gemini: text": (gemini({"text": "Hi"}), "content"),
    "gemini: thought": (gemini({"text": "Hm", "thought": True}), "reasoning"),
    "gemini: call": (gemini({"function_call": {"name": "find"}}), "tool"),
    "gemini: call over REST": (gemini({"functionCall": {"name": "find"}}), "tool"),
    "gemini: nothing": (gemini({"text": ""}), "framing"),
    "gemini: usage": ({"candidates": None, "usage_metadata": {"prompt_token_count": 1}}, "usage"),
    "ollama: chat": (ollama(content="Hi"), "content"),
    "ollama: thinking": (ollama(thinking="Hm"), "reasoning"),
    "ollama: call": (ollama(tool_calls=[{"function": {"name": "find", "arguments": {}}}]), "tool"),
    "ollama: last": (ollama(done=True), "usage"),
    "ollama: generate": ({"model": "m", "response": "Hi", "done": False}, "content"),
    "ollama: generate nothing": ({"model": "m", "response": "", "done": False}, "framing"),
    "text": ("Hi", "content"),
    "empty text": ("", "framing"),
    "a line break": ("\n", "content"),
    "bytes": (b"Hi", "content"),
    "empty bytes": (b"", "framing"),
    "a raw line": (b"data: " + json.dumps(chat(ROLE)).encode(), "framing"),
    "a raw line with text": ("data: " + json.dumps(chat({"content": "Hi"})), "content"),
    "a raw event": ("event: message_start\ndata: " + json.dumps(message_start()) + "\n\n", "framing"),
    "a raw end": ("data: [DONE]", "framing"),
    "a raw comment": (": OPENROUTER PROCESSING", "framing"),
    "a raw name": ("event: content_block_delta", "framing"),
    "a JSON line": (json.dumps(ollama(content="Hi")), "content"),
    "JSON that the model writes": ('{"answer": 1}', "content"),
    "an opening brace": ("{", "content"),
    "any dict with text": ({"text": "Hi"}, "content"),
    "any dict with empty text": ({"text": ""}, "framing"),
    "a dict of nothing known": ({"x": 1}, "other"),
    "none": (None, "framing"),
}


@pytest.mark.parametrize(("chunk", "expected"), CHUNKS.values(), ids=CHUNKS)
def test_dict(chunk, expected):
    """A chunk's kind is read off its shape."""
    assert expected == classify(chunk).value


def as_object(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(inner) for name, inner in value.items()})
    return [as_object(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("chunk", "expected"), CHUNKS.values(), ids=CHUNKS)
def test_object(chunk, expected):
    """Objects with the same fields are of the same kind."""
    assert expected == Reader().read(as_object(chunk))[0].value


@pytest.mark.parametrize("name", [name for name in CHUNKS if name.startswith("chat")])
def test_openai_object(name):
    """So are the chunks of the openai package, whose undeclared fields hide from a plain look."""
    chunk, expected = CHUNKS[name]
    assert expected == classify(construct_type(type_=ChatCompletionChunk, value=chunk)).value


@pytest.mark.parametrize("name", [name for name in CHUNKS if name.startswith("anthropic") and "ping" not in name])
def test_anthropic_object(name):
    """So are the events of the anthropic package."""
    chunk, expected = CHUNKS[name]
    assert expected == classify(TypeAdapter(RawMessageStreamEvent).validate_python(chunk)).value


def test_responses_object():
    """So are the events of OpenAI Responses."""
    event = ResponseTextDeltaEvent.model_construct(type="response.output_text.delta", delta="Hi")
    assert (Kind.CONTENT, "Hi") == Reader().read(event)


def test_text_of_first_choice():
    """Of several answers only the first one's text is followed: mixed, they would make no sentences."""
    read = Reader().read
    pieces = (("a", 0), ("b", 1), ("c", 0))
    assert ["a", "", "c"] == [read(chat({"content": text}, index=index))[1] for text, index in pieces]


def test_mixed_dicts():
    """One stream may mix dicts of several shapes."""
    read = Reader().read
    assert [Kind.FRAMING, Kind.CONTENT, Kind.OTHER] == [
        read(chunk)[0] for chunk in (message_start(), chat({"content": "Hi"}), {"x": 1})
    ]


FINAL = {
    "chat: text": (chat({"content": "Hi"}), False),
    "chat: finish": (chat({}, finish="stop"), True),
    "chat: text with finish": (chat({"content": "Hi"}, finish="stop"), True),
    "chat: usage": (chat(usage=USAGE), True),
    "chat: content filter of Azure": (chat(choices=[]), False),
    "anthropic: delta": (message_delta(), False),
    "anthropic: stop": (MESSAGE_STOP, True),
    "responses: text": (response_event("output_text.delta", delta="Hi"), False),
    "responses: completed": (response_event("completed", response={}), True),
    "gemini: text": (gemini({"text": "Hi"}), False),
    "gemini: finish": (gemini({"text": "Hi"}, finish="STOP"), True),
    "ollama: text": (ollama(content="Hi"), False),
    "ollama: done": (ollama(done=True), True),
    "text": ("Hi", None),
}


@pytest.mark.parametrize(("chunk", "expected"), FINAL.values(), ids=FINAL)
def test_is_final(chunk, expected):
    """The last chunk of a protocol is told from any other; plain text has no such mark."""
    assert expected is is_final(chunk)
