"""What a streamed chunk is, read off its shape: framing, reasoning, tool call, answer or usage.

No provider's package is imported and none is needed: a chunk is an object or a dict of OpenAI (chat, completions,
Responses and the `stream()` helpers' events), Anthropic, Gemini, LiteLLM, Ollama or LangChain, a line of a raw
`text/event-stream` body, or plain text. A chunk that says nothing new (a role, an id, a ping, an empty string, a helper
repeating what its last event said) is framing and never a token.

Nothing read here is kept. Cost: 1 to 5 us; `otel_latency.instrument.glimpse` spares most chunks the close look.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final


class Kind(Enum):
    """What a chunk brings. The first three are tokens: something the model generated."""

    CONTENT = "content"
    REASONING = "reasoning"
    TOOL = "tool"
    FRAMING = "framing"  # of the protocol: roles, ids, starts and stops, pings, empty deltas
    USAGE = "usage"
    OTHER = "other"  # a shape that is not known here

    def __init__(self, value: str) -> None:
        self.is_token = value in {"content", "reasoning", "tool"}


Reading = tuple[Kind, str]
"""A chunk's kind with the answer's text in it. Of several choices, the text is the first one's."""

Shape = Callable[[Any], Reading]

_FRAMING: Final[Reading] = (Kind.FRAMING, "")
_REASONING: Final[Reading] = (Kind.REASONING, "")
_TOOL: Final[Reading] = (Kind.TOOL, "")
_CONTENT: Final[Reading] = (Kind.CONTENT, "")
_USAGE: Final[Reading] = (Kind.USAGE, "")
_OTHER: Final[Reading] = (Kind.OTHER, "")


def classify(chunk: object) -> Kind:
    """The kind of one chunk, whatever came before it."""
    return shape_of(chunk)(chunk)[0]


class Reader:
    """Reads the chunks of one stream. A class that declares its fields is asked for its shape once."""

    def __init__(self) -> None:
        self._shapes: dict[type, Shape] = {}

    def read(self, chunk: object) -> Reading:
        shape = self._shapes.get(type(chunk))
        if shape is None:
            shape = shape_of(chunk)
            if not isinstance(chunk, dict) and (shape is not plain_chunk or hasattr(type(chunk), "model_fields")):
                self._shapes[type(chunk)] = shape
        return shape(chunk)


def is_final(chunk: object) -> bool | None:
    """Whether a stream is complete when *chunk* is its last one; None when its protocol has no such mark."""
    shape = shape_of(chunk)
    if shape is chat_chunk:
        choices = _get(chunk, "choices")
        return any(_get(choice, "finish_reason") for choice in choices) if choices else bool(_get(chunk, "usage"))
    if shape is gemini_chunk:
        candidates = _get(chunk, "candidates")
        return any(_optional(each, "finish_reason", "finishReason") for each in candidates or ())
    if shape is ollama_chunk:
        return bool(_get(chunk, "done"))
    if shape is named_event:
        return None if (kind := _get(chunk, "type")) in _HELPER_ENDS else kind in _ENDS
    return None


def shape_of(chunk: object) -> Shape:
    """How to read chunks that look like this one: by the fields that are there, empty or not."""
    if isinstance(chunk, str):
        return text_line
    if isinstance(chunk, bytes | bytearray | memoryview):
        return raw_bytes
    if _has(chunk, "choices"):
        return chat_chunk
    if _has(chunk, "candidates"):
        return gemini_chunk
    if isinstance(kind := _get(chunk, "type"), str) and (kind in _EVENTS or kind.startswith("response.")):
        return named_event
    if _has(chunk, "done") and (_has(chunk, "message") or _has(chunk, "response")):
        return ollama_chunk
    return plain_chunk


def chat_chunk(chunk: Any) -> Reading:
    """OpenAI chat completions and all that speak like it; `text` is how the older completions said it."""
    choices = _get(chunk, "choices")
    if isinstance(choices, _LISTS) and choices:
        found = _choice(choices[0]) if len(choices) == 1 else _strongest(map(_choice, choices))
        if found[0].is_token:
            return found
    return _USAGE if _optional(chunk, "usage", "x_groq") else _FRAMING


def _choice(choice: Any) -> Reading:
    delta = _get(choice, "delta")
    if delta is None:
        return _said(choice, _get(choice, "text"))
    if content := _get(delta, "content"):
        return _said(choice, content)
    if _optional(delta, "refusal", "audio"):
        return _CONTENT
    if _optional(delta, "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"):
        return _REASONING
    if calls := _optional(delta, "tool_calls", "function_call"):
        return _tools(calls if isinstance(calls, _LISTS) else (calls,))
    return _FRAMING


def _said(choice: Any, content: object) -> Reading:
    if isinstance(content, _LISTS):  # Mistral's reasoning models stream lists of parts
        return _strongest(map(_part, content))
    if not content:
        return _FRAMING
    return (Kind.CONTENT, content) if isinstance(content, str) and not _get(choice, "index") else _CONTENT


def _tools(calls: Iterable[Any]) -> Reading:
    """A name is generated as well as arguments are; a bare id or index is not."""
    for call in calls:
        function = _optional(call, "function", "custom") or call
        if _optional(function, "name", "arguments", "input"):
            return _TOOL
    return _FRAMING


def gemini_chunk(chunk: Any) -> Reading:
    """`GenerateContentResponse`, as the client's object or as the JSON of the REST API."""
    candidates = _get(chunk, "candidates")
    for candidate in candidates if isinstance(candidates, _LISTS) else ():
        parts = _get(_get(candidate, "content"), "parts")
        if isinstance(parts, _LISTS) and (found := _strongest(map(_part, parts)))[0].is_token:
            return found
    return _USAGE if _optional(chunk, "usage_metadata", "usageMetadata") else _FRAMING


def _part(part: Any) -> Reading:
    text = _get(part, "text")
    if text and isinstance(text, str):
        return _REASONING if _optional(part, "thought") else (Kind.CONTENT, text)
    if _optional(part, "thinking"):
        return _REASONING
    if _optional(part, "function_call", "functionCall", "executable_code", "executableCode"):
        return _TOOL
    return _CONTENT if _optional(part, "inline_data", "inlineData") else _FRAMING


def ollama_chunk(chunk: Any) -> Reading:
    """The answers of `/api/chat` (a message) and `/api/generate` (a response); the last one has the counts."""
    message = _get(chunk, "message") if _has(chunk, "message") else chunk
    text = _get(message, "content") if message is not chunk else _get(chunk, "response")
    if text:
        return (Kind.CONTENT, text) if isinstance(text, str) else _CONTENT
    if _optional(message, "thinking"):
        return _REASONING
    if calls := _optional(message, "tool_calls"):
        return _tools(calls)
    return _USAGE if _get(chunk, "done") else _FRAMING


def named_event(event: Any) -> Reading:
    """Events that name themselves: Anthropic's, OpenAI Responses', and those of both clients' `stream()` helpers."""
    kind = _get(event, "type")
    if read := _EVENTS.get(kind):
        return read(event)
    delta = _get(event, "delta") if kind.endswith(".delta") else None
    if delta:
        return (Kind.CONTENT, delta) if (found := _delta_kind(kind)) is Kind.CONTENT else (found, "")
    return _USAGE if kind in _RESPONSE_ENDS else _FRAMING


@functools.lru_cache(maxsize=128)
def _delta_kind(kind: str) -> Kind:
    """The names follow a pattern: `response.reasoning_summary_text.delta`, `response.mcp_call_arguments.delta`."""
    if "reasoning" in kind:
        return Kind.REASONING
    return Kind.TOOL if "_call" in kind else Kind.CONTENT


def _block_delta(event: Any) -> Reading:
    delta = _get(event, "delta")
    kind = _get(delta, "type")
    if kind == "text_delta":
        text = _get(delta, "text")
        return (Kind.CONTENT, text) if text else _FRAMING
    if kind == "thinking_delta":
        return _REASONING if _get(delta, "thinking") else _FRAMING
    if kind == "input_json_delta":
        return _TOOL if _get(delta, "partial_json") else _FRAMING
    return _FRAMING  # signatures and citations accompany tokens


def _framing(_event: Any) -> Reading:
    return _FRAMING


def _usage(_event: Any) -> Reading:
    return _USAGE


def _inner_chunk(event: Any) -> Reading:
    inner = _get(event, "chunk")
    return plain_chunk(event) if inner is None else shape_of(inner)(inner)


def _text_event(event: Any) -> Reading:
    """Anthropic's helper repeats each text delta with a snapshot; a type `text` of anyone else is text."""
    return _FRAMING if _has(event, "snapshot") else plain_chunk(event)


_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ENDS: Final = _RESPONSE_ENDS | {"message_stop"}
_HELPER_ENDS: Final = frozenset({"chunk", "text", "content.done", "refusal.done", "tool_calls.function.arguments.done"})
_EVENTS: Final[Mapping[str, Shape]] = {
    "content_block_delta": _block_delta,
    "message_delta": _usage,
    "text": _text_event,
    "thinking": _text_event,
    "chunk": _inner_chunk,
    **dict.fromkeys(
        (
            *("message_start", "message_stop", "content_block_start", "content_block_stop", "ping", "error"),
            *("input_json", "citation", "signature"),
            *("content.delta", "content.done", "refusal.delta", "refusal.done"),
            *("logprobs.content.delta", "logprobs.content.done", "logprobs.refusal.delta", "logprobs.refusal.done"),
            *("tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"),
        ),
        _framing,
    ),
}


def plain_chunk(chunk: Any) -> Reading:
    """Anything else that carries its text in a field of its own."""
    if chunk is None:
        return _FRAMING
    is_known = False
    for name in ("content", "text", "delta", "token", "response"):
        value = _get(chunk, name)
        if isinstance(value, str):
            if value:
                return (Kind.CONTENT, value)
            is_known = True
        elif name == "delta" and value is not None:
            return _choice({"delta": value})
    if _optional(chunk, "reasoning_content", "reasoning", "thinking"):
        return _REASONING
    if calls := _optional(chunk, "tool_call_chunks", "tool_calls"):
        return _tools(calls)
    if _optional(chunk, "usage", "usage_metadata"):
        return _USAGE
    return _FRAMING if is_known else _OTHER


def raw_bytes(chunk: bytes | bytearray | memoryview) -> Reading:
    """A line of a raw body, or content: text or audio, which nobody looks into."""
    body = bytes(chunk)
    if body.startswith(_LINE_STARTS):
        return text_line(body.decode(errors="replace"))
    return _CONTENT if body.strip() else _FRAMING


def text_line(text: str) -> Reading:
    """Plain text, or a line or event of a raw body: server-sent events or one JSON document each."""
    if text.startswith("data:") or (_PROTOCOL.match(text) and "\ndata:" in text):
        return _payload(text[text.index("data:") + 5 :].strip())
    if text.startswith("{"):
        chunk = _document(text)
        shape = None if chunk is None else shape_of(chunk)
        return (Kind.CONTENT, text) if shape is None or shape is plain_chunk else shape(chunk)
    return _FRAMING if not text or _PROTOCOL.match(text) else (Kind.CONTENT, text)


def _payload(data: str) -> Reading:
    if data in {"", "[DONE]"}:
        return _FRAMING
    chunk = _document(data)
    return (Kind.CONTENT, data) if chunk is None else shape_of(chunk)(chunk)


def _document(text: str) -> dict[str, Any] | None:
    try:
        chunk = json.loads(text)
    except ValueError:
        return None
    return chunk if isinstance(chunk, dict) else None


_LINE_STARTS: Final = (b"data:", b"event:", b"id:", b"retry:", b":", b"{")
_PROTOCOL: Final = re.compile(r"(?:event|id|retry): ?\S*(?:\s|\Z)|: \S")
"""The lines of server-sent events without data; the last form is a comment, which some send as a ping."""


def _strongest(readings: Iterable[Reading]) -> Reading:
    """The answer before reasoning before tool calls before framing, and with its text where there is one."""
    return min(readings, key=lambda reading: (_ORDER[reading[0]], not reading[1]), default=_FRAMING)


_ORDER: Final = {kind: order for order, kind in enumerate(Kind)}
_LISTS: Final = (list, tuple)


def field(thing: Any, name: str) -> Any:
    """A field that may well be missing: None then. Asked for such a one, pydantic's `getattr` takes 3 us."""
    if isinstance(thing, dict):
        return thing.get(name)
    own = getattr(thing, "__dict__", None)
    if own is not None and name in own:
        return own[name]
    if hasattr(type(thing), "__pydantic_extra__"):
        return (thing.__pydantic_extra__ or {}).get(name)
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def fields_of(thing: Any) -> Mapping[str, Any] | None:
    """All that `field` would find, of a dict or a pydantic model; None for what has to be asked for each."""
    if isinstance(thing, dict):
        return thing
    if not hasattr(type(thing), "__pydantic_extra__"):
        return None
    own: dict[str, Any] = thing.__dict__
    extra = thing.__pydantic_extra__
    return {**extra, **own} if extra else own


def _get(thing: Any, name: str) -> Any:
    """A field that is expected to be there."""
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _has(thing: Any, name: str) -> bool:
    return name in thing if isinstance(thing, dict) else hasattr(thing, name)


def _optional(thing: Any, *names: str) -> Any:
    """The first of some fields that has something in it. For a missing one pydantic's `getattr` takes 3 us."""
    if isinstance(thing, dict):
        return next((value for name in names if (value := thing.get(name))), None)
    for fields in (getattr(thing, "__dict__", None), getattr(thing, "__pydantic_extra__", None)):
        if fields and (value := next((value for name in names if (value := fields.get(name))), None)):
            return value
    if hasattr(thing, "__pydantic_extra__"):
        return None
    return next((value for name in names if (value := getattr(thing, name, None))), None)
