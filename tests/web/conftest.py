"""A real server and a real client for every test that asks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from otel_latency.web.app import Route, WebServer

Serve = Callable[..., Awaitable[ClientSession]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with the given routes; answers a client that knows its address."""
    async with AsyncExitStack() as stack:

        async def start(*routes: Route, **options: object) -> ClientSession:
            server = WebServer("127.0.0.1", 0, routes=routes, **options)
            await server.start()
            stack.push_async_callback(server.stop)
            return await stack.enter_async_context(ClientSession(server.url))

        yield start
