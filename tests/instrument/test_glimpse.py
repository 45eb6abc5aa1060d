"""The quick look never contradicts the close one."""

from __future__ import annotations

import itertools
import json

import pytest
from instrument.provider_server import ROLE, USAGE, block_delta, chat, message_delta, response_event, tool
from instrument.test_chunks import CHUNKS, as_object, gemini, ollama
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk

from otel_latency.instrument.chunks import Reader
from otel_latency.instrument.glimpse import glimpse_at, never


def seen(glimpse, chunk):
    try:
        return glimpse(chunk)
    except Exception:
        return None


def openai_object(chunk):
    return construct_type(type_=ChatCompletionChunk, value=chunk)


def as_lines(chunk):
    return "data: " + json.dumps(chunk) if isinstance(chunk, dict) else chunk


FORMS = {
    "dicts": [chunk for chunk, _ in CHUNKS.values()],
    "objects": [as_object(chunk) for chunk, _ in CHUNKS.values()],
    "openai": [openai_object(chunk) for name, (chunk, _) in CHUNKS.items() if name.startswith("chat")],
    "lines": [as_lines(chunk) for chunk, _ in CHUNKS.values()],
    "raw": [as_lines(chunk).encode() for chunk, _ in CHUNKS.values() if isinstance(chunk, str | dict)],
}


@pytest.mark.parametrize("chunks", FORMS.values(), ids=FORMS)
def test_agrees(chunks):
    """After any sample, what is seen in any chunk is of the sample's kind and the very text of the close look."""
    read = Reader().read
    for sample, chunk in itertools.product(chunks, chunks):
        reading = read(sample)
        token = seen(glimpse_at(sample, reading), chunk) if reading[0].is_token else None
        if token:
            kind, text = read(chunk)
            assert (reading[0], text if reading[1] else "") == (kind, token if reading[1] else text), (sample, chunk)


KNOWN = {
    "chat": (chat({"content": "a"}), chat({"content": "b"}), "b"),
    "chat: other choice": (chat({"content": "a"}), chat({"content": "b"}, index=1), None),
    "chat: role": (chat({"content": "a"}), chat(ROLE), None),
    "chat: reasoning": (chat({"reasoning_content": "a"}), chat({"reasoning_content": "b"}), "b"),
    "chat: from reasoning to text": (chat({"reasoning": "a"}), chat({"content": "b", "reasoning": "c"}), None),
    "chat: arguments": (chat(tool("", "find")), chat(tool("{}")), "{}"),
    "chat: usage": (chat({"content": "a"}), chat(usage=USAGE), None),
    "anthropic": (block_delta("text_delta", "a"), block_delta("text_delta", "b"), "b"),
    "anthropic: thinking": (block_delta("thinking_delta", "a"), block_delta("thinking_delta", "b"), "b"),
    "anthropic: arguments": (block_delta("input_json_delta", "{"), block_delta("input_json_delta", "}"), "}"),
    "anthropic: from thinking to text": (block_delta("thinking_delta", "a"), block_delta("text_delta", "b"), None),
    "anthropic: end": (block_delta("text_delta", "a"), message_delta(), None),
    "responses": (response_event("output_text.delta", delta="a"), response_event("output_text.delta", delta="b"), "b"),
    "responses: other event": (
        response_event("output_text.delta", delta="a"),
        response_event("reasoning_text.delta", delta="b"),
        None,
    ),
    "gemini": (gemini({"text": "a"}), gemini({"text": "b"}), "b"),
    "gemini: thought": (gemini({"text": "a", "thought": True}), gemini({"text": "b"}), None),
    "ollama": (ollama(content="a"), ollama(content="b"), "b"),
    "ollama: thinking": (ollama(thinking="a"), ollama(thinking="b"), "b"),
    "ollama: generate": ({"response": "a", "done": False}, {"response": "b", "done": False}, "b"),
    "own": ({"text": "a"}, {"text": "b"}, "b"),
    "own: other fields": ({"text": "a"}, {"text": "b", "choices": []}, None),
}


@pytest.mark.parametrize(("sample", "chunk", "expected"), KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("form", [dict, as_object], ids=["dict", "object"])
def test_glimpse(form, sample, chunk, expected):
    """The token of a chunk like the sample is found; of another, nothing is said."""
    sample, chunk = form(sample), form(chunk)
    glimpse = glimpse_at(sample, Reader().read(sample))
    assert (True, expected) == (glimpse is not never, seen(glimpse, chunk) or None)


LINES = {
    "text": ("Hi", "there", "there"),
    "a name of the protocol": ("Hi", "data", None),
    "nothing": ("Hi", "", None),
    "bytes": (b"Hi", b" there", b" there"),
    "blank bytes": (b"Hi", b" \n", None),
    "chat": (as_lines(chat({"content": "a"})), as_lines(chat({"content": "b c"})), "b c"),
    "chat, compact": (*(json.dumps(chat({"content": text}), separators=(",", ":")) for text in "ab"), "b"),
    "escapes": (as_lines(chat({"content": "a"})), as_lines(chat({"content": 'say "b"'})), None),
    "anthropic": (*(as_lines(block_delta("text_delta", text)).encode() for text in "ab"), "b"),
    "ollama": (json.dumps(ollama(content="a")), json.dumps(ollama(content="b")), "b"),
}


@pytest.mark.parametrize(("sample", "line", "expected"), LINES.values(), ids=LINES)
def test_lines(sample, line, expected):
    """So it is with text and with lines of a raw body, as far as their text needs no unescaping."""
    assert expected == (seen(glimpse_at(sample, Reader().read(sample)), line) or None)


def test_undeclared():
    """LiteLLM's text is in a field that pydantic's model does not declare."""
    first, second = (openai_object(chat({"content": None, "reasoning_content": text})) for text in "ab")
    assert "b" == glimpse_at(first, Reader().read(first))(second)


def test_slots():
    """An object that keeps its fields where nobody can look quickly is looked at closely."""

    class Piece:
        __slots__ = ("text",)

    piece = Piece()
    piece.text = "Hi"
    assert never is glimpse_at(piece, Reader().read(piece))


def test_hostile():
    """Fields that raise make no quick look, and no fault."""

    class Hostile:
        @property
        def __dict__(self):
            raise RuntimeError

        text = "Hi"

    assert never is glimpse_at(Hostile(), Reader().read(Hostile()))
