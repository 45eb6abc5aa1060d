"""Alerts, and the far side of a notifier: a server that answers as it is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from otel_latency.config.values import Secret
from otel_latency.notify.model import Notification, Reason
from otel_latency.records import Alert

NOW = 1_700_000_000.0


def alert(name="P99High", *, starts_at=NOW, **labels):
    """A firing alert."""
    return Alert(
        {"alertname": name, **labels}, {"summary": "p99 2s"}, starts_at, starts_at + 240, True, 2.0, "http://agent/rule"
    )


def resolved(firing, ends_at=NOW + 33):
    return replace(firing, is_firing=False, ends_at=ends_at)


def notification(*alerts, time=NOW + 60, reason=Reason.FIRST, group_by=("alertname",), receiver="oncall"):
    labels = {name: alerts[0].labels[name] for name in group_by}
    return Notification(receiver, labels, alerts, reason, time)


class Server:
    """Answers each request with the next of `answers`, or else with 200, and keeps what it was sent."""

    def __init__(self):
        self.requests = []
        self.answers = []
        self.port = 0

    def url(self, path="/hook"):
        return Secret(f"http://127.0.0.1:{self.port}{path}")

    async def handle(self, request):
        self.requests.append((request.path, dict(request.headers), await request.json()))
        answer = self.answers.pop(0) if self.answers else ok
        return await answer(request)


async def ok(_request):
    return web.Response(text="ok")


def status(number, text="", **headers):
    """An answer with a status and headers."""

    async def answer(_request):
        return web.Response(status=number, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def silence(_request):
    """No answer until the client leaves."""
    await asyncio.Event().wait()


async def reset(request):
    request.transport.abort()
    return web.Response()


async def endless(request):
    """A body that goes on as long as somebody reads."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 16))


@asynccontextmanager
async def serving(handle, ssl_context=None):
    """The port on which *handle* answers any request."""
    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()
