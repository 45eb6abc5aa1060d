"""Streams of every shape that the library knows, at their most expensive: a thousand tokens and no end of a sentence.

Objects are those of the real packages where these are installed here, else stand-ins that keep their fields where the
originals do (Google's and LiteLLM's are pydantic models, LiteLLM's with undeclared fields).
"""

from __future__ import annotations

import json
from functools import cache

from anthropic.types import RawMessageStreamEvent
from openai._models import construct_type
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, ConfigDict, TypeAdapter

TEXT = " word"
FRAME = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chat(**delta):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return {**FRAME, "choices": [choice], "usage": None}


def tool(arguments):
    function = {"arguments": arguments}
    return chat(tool_calls=[{"index": 0, "id": None, "type": None, "function": function}])


def block_delta(kind, field):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: TEXT}}


def response(kind):
    fields = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    return {"type": f"response.{kind}.delta", "delta": TEXT, "logprobs": [], **fields}


def gemini(**part):
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": None, "index": 0}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r"}


def ollama(**message):
    message = {"role": "assistant", "content": "", **message}
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}


class Part(BaseModel):
    text: str | None = None
    thought: bool | None = None
    function_call: dict | None = None


class Content(BaseModel):
    parts: list[Part] | None = None
    role: str | None = None


class Candidate(BaseModel):
    content: Content | None = None
    finish_reason: str | None = None


class GeminiChunk(BaseModel):
    candidates: list[Candidate] | None = None
    usage_metadata: dict | None = None


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class LiteDelta(Loose):
    """Declares no content: LiteLLM sets it afterwards."""


class LiteChoice(Loose):
    finish_reason: str | None = None
    index: int
    delta: LiteDelta


class LiteChunk(Loose):
    id: str
    object: str
    created: int
    model: str
    choices: list[LiteChoice]


class OllamaMessage(BaseModel):
    role: str
    content: str | None = None
    thinking: str | None = None


class OllamaChunk(BaseModel):
    model: str | None = None
    done: bool | None = None
    message: OllamaMessage
    prompt_eval_count: int | None = None
    eval_count: int | None = None


class Piece:
    """Somebody's own chunk."""

    def __init__(self, text):
        self.text = text


def openai(chunk):
    return construct_type(type_=ChatCompletionChunk, value=chunk)


@cache
def adapter(kind):
    return TypeAdapter(kind)


def openai_event(event):
    return adapter(ResponseStreamEvent).validate_python(event)


def anthropic(event):
    return adapter(RawMessageStreamEvent).validate_python(event)


def gemini_object(**part):
    parts = Content(parts=[Part(**part)], role="model")
    return GeminiChunk(candidates=[Candidate(content=parts)])


def litellm(**delta):
    return LiteChunk(**FRAME, choices=[LiteChoice(index=0, delta=LiteDelta(**delta))])


def line(event):
    return b"data: " + json.dumps(event).encode()


SHAPES = {
    "openai: text": lambda: openai(chat(content=TEXT)),
    "openai: reasoning": lambda: openai(chat(reasoning_content=TEXT)),
    "openai: tool call": lambda: openai(tool(TEXT)),
    "openai responses: text": lambda: openai_event(response("output_text")),
    "openai responses: reasoning": lambda: openai_event(response("reasoning_summary_text") | {"summary_index": 0}),
    "anthropic: text": lambda: anthropic(block_delta("text_delta", "text")),
    "anthropic: thinking": lambda: anthropic(block_delta("thinking_delta", "thinking")),
    "anthropic: tool call": lambda: anthropic(block_delta("input_json_delta", "partial_json")),
    "gemini: text": lambda: gemini_object(text=TEXT),
    "gemini: thought": lambda: gemini_object(text=TEXT, thought=True),
    "litellm: text": lambda: litellm(content=TEXT),
    "litellm: reasoning": lambda: litellm(content=None, reasoning_content=TEXT),
    "ollama: text": lambda: OllamaChunk(done=False, message=OllamaMessage(role="assistant", content=TEXT)),
    "chat dict: text": lambda: chat(content=TEXT),
    "chat dict: reasoning": lambda: chat(content=None, reasoning_content=TEXT),
    "chat dict: tool call": lambda: tool(TEXT),
    "responses dict: text": lambda: response("output_text"),
    "anthropic dict: text": lambda: block_delta("text_delta", "text"),
    "anthropic dict: thinking": lambda: block_delta("thinking_delta", "thinking"),
    "gemini dict: text": lambda: gemini(text=TEXT),
    "ollama dict: text": lambda: ollama(content=TEXT),
    "ollama dict: thinking": lambda: ollama(thinking=TEXT),
    "own dict": lambda: {"text": TEXT},
    "own object": lambda: Piece(TEXT),
    "plain text": lambda: TEXT,
    "plain bytes": lambda: TEXT.encode(),
    "raw line: chat": lambda: line(chat(content=TEXT)),
    "raw line: anthropic": lambda: line(block_delta("text_delta", "text")),
}
"""Name -> a new chunk. Each is an object of its own, as those of a client are."""
