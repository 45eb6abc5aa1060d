"""The web server of the agent: routes in, HTTP out, with the same guard before every one of them.

It answers GET and HEAD, and POST where a route takes small forms; every answer carries the headers that keep a browser
from doing anything with it. Errors are JSON and never tell what failed inside. A Host header that does not belong to us
is refused, for that is what a web page sends that rebinds its name to our address. Probes and scrapes are exempt: they
come by whatever name or address the cluster gives us, and they tell figures only. `stop` takes seconds at most,
whatever clients hold open.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from aiohttp import web

from otel_latency.listening import cannot_listen, in_url, is_loopback
from otel_latency.web.replies import reply

log = logging.getLogger(__name__)
_protocol_log = logging.getLogger(__name__ + ".protocol")
_protocol_log.setLevel(logging.CRITICAL)  # aiohttp would log a traceback for every malformed request line

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "otel-latency",
}
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::\d+)?")

_MAX_LINE: Final = 64 << 10
"""Of a request: expressions come in the query string, and some are long."""
_MAX_BODY: Final = 64 << 10
_KEEPALIVE: Final = 30.0
_LINGER: Final = 1.0
"""How long the body of a refused request is read, so that its sender gets to see the answer."""
_GRACE: Final = 1.0
"""How long answers may take to finish once we stop; streams are cut after it."""
_SHUTDOWN: Final = 2.0


@dataclass(frozen=True, slots=True)
class Route:
    """One path and who answers it. `any_host` is for probes and scrapes, which come by any name.

    A part of the path in braces (`/turns/{trace_id}`) is whatever stands there: `request.match_info["trace_id"]`.
    `methods` are GET, which brings HEAD, and POST for what takes a small body.
    """

    path: str
    handler: Handler
    any_host: bool = False
    methods: tuple[str, ...] = ("GET",)


class WebServer:
    """Serves *routes* on *host* and *port*; port 0 asks the system for a free one."""

    def __init__(self, host: str, port: int, *, routes: Sequence[Route], allowed_hosts: Iterable[str] = ()) -> None:
        self._host = host
        self._port = port
        self._allowed = {name.lower() for name in (*_LOCAL_NAMES, in_url(host), *allowed_hosts)}
        self._open = {route.path for route in routes if route.any_host}
        self._routes = routes
        self._runner: web.AppRunner | None = None
        self._answering: set[asyncio.Task[object]] = set()
        self.request_count = 0
        """Requests that came in, whatever became of them."""

    async def start(self) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        app = web.Application(middlewares=[self._guard], client_max_size=_MAX_BODY)
        app.on_response_prepare.append(_add_headers)
        for route in self._routes:
            for method in ("HEAD", *route.methods):
                app.router.add_route(method, route.path, route.handler)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_protocol_log,
            keepalive_timeout=_KEEPALIVE,
            lingering_time=_LINGER,
            max_line_size=_MAX_LINE,
            shutdown_timeout=_SHUTDOWN,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise cannot_listen("web", self._host, self._port, error) from error
        self._runner = runner
        if not is_loopback(self._host):
            log.warning("web: %s can be reached from other machines, without authentication", self.url)

    async def stop(self) -> None:
        """Accept no more, give answers a moment to finish, cut the rest. Harmless twice, or before `start`."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in runner.sites:
            await site.stop()
        if self._answering:
            await asyncio.wait(self._answering, timeout=_GRACE)
        for task in self._answering:
            task.cancel()
        await runner.cleanup()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; only between `start` and `stop`."""
        assert self._runner is not None, "the web server is not started"
        host, port, *_ = self._runner.addresses[0]
        return host, port

    @property
    def url(self) -> str:
        """The address to open, such as `http://127.0.0.1:8080`."""
        host, port = self.address
        return f"http://{in_url(host)}:{port}"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.request_count += 1
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            if request.path not in self._open and not self._is_for_us(request):
                return reply({"error": "this Host is not served here: add it to web.allowed_hosts"}, status=403)
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            return _not_allowed(error)
        except web.HTTPException as error:
            return reply({"error": error.reason.lower()}, status=error.status)
        except Exception:
            log.exception("%s failed", request.path)
            return reply({"error": "internal error; see the agent's log"}, status=500)
        finally:
            self._answering.discard(task)

    def _is_for_us(self, request: web.Request) -> bool:
        """Whether the one Host header names us: by a name we know, or by the very address the client came to."""
        hosts = request.headers.getall("Host", ())
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return False
        name = match[1].lower()
        return name in self._allowed or name == in_url(_own_address(request))


def index(paths: Iterable[str]) -> Route:
    """A page at `/` that links to what there is, but for paths that need to be told more."""
    whole = [path for path in paths if "{" not in path]
    links = "".join(f'<li><a href="{escape(path)}">{escape(path)}</a></li>' for path in whole)
    page = f'<!doctype html><html lang="en"><title>otel-latency</title><h1>otel-latency</h1><ul>{links}</ul></html>'

    async def get(_request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    return Route("/", get)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _not_allowed(error: web.HTTPMethodNotAllowed) -> web.Response:
    methods = sorted(error.allowed_methods)
    response = reply({"error": f"only {', '.join(methods[:-1])} and {methods[-1]} are answered here"}, status=405)
    response.headers["Allow"] = ", ".join(methods)
    return response


def _own_address(request: web.Request) -> str:
    """The address of ours that the client connected to; never one that it chose to write."""
    transport = request.transport
    name = transport.get_extra_info("sockname") if transport is not None else None
    return str(name[0]) if name else ""
