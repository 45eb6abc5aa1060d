"""A model host on loopback that speaks OpenAI's and Anthropic's streaming protocols, by a script with times.

    with ProviderServer() as server:
        server.script = [Step(0.02, {"choices": [...]}), Step(0.2, ...), DONE]
        OpenAI(base_url=server.url, api_key="x", http_client=...)

A step waits until its time after the request, then sends one event. `BREAK` cuts the connection within the body.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import NamedTuple

from aiohttp import web


class Step(NamedTuple):
    """Send *event* (a document, or text as it stands) *at* seconds after the request."""

    at: float
    event: object


BREAK = "break"
DONE = Step(0, "[DONE]")


class ProviderServer:
    """Answers every POST by its `script`; without `stream` in the request, by `answer`."""

    def __init__(self):
        self.script = []
        self.answer = {}
        self.status = 200
        self.requests = []
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *failure):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._stop = asyncio.Event()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _handle(self, request):
        start = self._loop.time()
        body = await request.json()
        self.requests.append((request.path, body))
        if self.status != 200:
            return web.json_response({"error": {"message": "no", "type": "server_error"}}, status=self.status)
        if not body.get("stream"):
            return web.json_response(self.answer)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for at, event in self.script:
            await asyncio.sleep(max(start + at - self._loop.time(), 0))
            if event is BREAK:
                request.transport.abort()
                return response
            await response.write(_line(event))
        await response.write_eof()
        return response


def _line(event):
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def chat(delta=None, *, finish=None, index=0, usage=None, choices=None):
    """A chunk of OpenAI's chat completions."""
    if choices is None:
        choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return chunk if usage is None else {**chunk, "usage": usage}


USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 6,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
ROLE = {"role": "assistant", "content": ""}


def tool(arguments, name=None):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": function}]}


def message_start():
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "claude"}
    usage = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}


def block_start(kind="text", index=0):
    block = {
        "text": {"type": "text", "text": ""},
        "thinking": {"type": "thinking", "thinking": "", "signature": ""},
        "tool_use": {"type": "tool_use", "id": "t", "name": "find", "input": {}},
    }[kind]
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(kind, text, index=0):
    field = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}[kind]
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def block_stop(index=0):
    return {"type": "content_block_stop", "index": index}


def message_delta(output_tokens=6, reason="end_turn"):
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": output_tokens},
    }


MESSAGE_STOP = {"type": "message_stop"}


def response_event(kind, **fields):
    return {"type": f"response.{kind}", "sequence_number": 0, **fields}


def response(status, usage=None):
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "m",
        "output": [],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
