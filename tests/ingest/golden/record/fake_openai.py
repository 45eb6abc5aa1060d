"""An OpenAI-compatible server on loopback whose timing is known, so that a recording can be judged.

A streamed answer sends its role-only chunk after 20 ms, the first content 60 ms after it, then a token every 5 ms.
Every text it sends holds CANARY: what still holds it in a recording is content. The model `broken` answers 500.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CANARY = "canary"
MODEL = "gpt-4o-mini"
ANSWERED_BY = "gpt-4o-mini-2024-07-18"
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if request.get("model") == "broken":
            self._json({"error": {"message": "out of order", "type": "server_error"}}, status=500)
        elif self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            self._json({"object": "list", "model": request["model"], "data": data, "usage": usage})
        elif self.path.endswith("/chat/completions") and request.get("stream"):
            self._stream()
        elif self.path.endswith("/chat/completions"):
            time.sleep(0.03)
            message = {"role": "assistant", "content": f"{CANARY} one two"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._json(_completion("chat.completion", [choice], USAGE))
        else:
            self._json({}, status=200)

    def do_GET(self) -> None:
        self._json({})

    def log_message(self, *args: object) -> None:
        pass

    def _json(self, body: dict[str, object], status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for pause, chunk in _chunks():
            time.sleep(pause)
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


def _completion(kind: str, choices: list[dict[str, object]], usage: object = None) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": kind,
        "created": 1,
        "model": ANSWERED_BY,
        "choices": choices,
        "usage": usage,
    }


def _chunks() -> Iterator[tuple[float, dict[str, object]]]:
    def chunk(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _completion("chat.completion.chunk", [choice])

    yield 0.02, chunk({"role": "assistant", "content": ""})
    yield 0.06, chunk({"content": CANARY})
    for word in (" one", " two", " three", " four."):
        yield 0.005, chunk({"content": word})
    yield 0.005, chunk({}, "stop")
    yield 0.0, _completion("chat.completion.chunk", [], USAGE)


@contextmanager
def serve() -> Iterator[str]:
    """The base URL of a running server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
