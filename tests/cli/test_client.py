"""The client of `--agent`, against a real web server."""

import asyncio
import re

import pytest
from aiohttp import web

from otel_latency.cli import explaining
from otel_latency.cli.client import AgentClient, NotFound
from otel_latency.errors import OtelLatencyError
from otel_latency.web.app import Route, WebServer
from otel_latency.web.prometheus import PrometheusAPI
from otel_latency.web.replies import reply

RULE = {"name": "A", "type": "alerting", "query": "a > 1 and b", "state": "inactive"}


@pytest.fixture
async def serve():
    """Starts a server with the given routes; answers a client of it."""
    servers = []

    async def start(*routes):
        server = WebServer("127.0.0.1", 0, routes=routes)
        await server.start()
        servers.append(server)
        return AgentClient(server.url)

    yield start
    for server in servers:
        await server.stop()


async def test_long_arguments(serve):
    """What is too long for an address goes as a form, and arrives the same."""

    async def echo(request: web.Request) -> web.Response:
        arguments = await request.post() or request.query
        return reply({"status": "success", "data": [request.method, arguments["query"], "time" in arguments]})

    client = await serve(Route("/api/v1/query", echo, methods=("GET", "POST")))
    for method, query in {"GET": "é + 1", "POST": "é + 1" * 1000}.items():
        found = await asyncio.to_thread(client.prometheus, "query", query=query, time=None)
        assert found == [method, query, False]


ERRORS = {
    "what is wrong": (400, {"error": "limit: 'x' is not a whole number"}, "/a: limit: 'x' is not a whole number"),
    "not now": (503, {"error": "the question takes too long"}, "/a: the question takes too long"),
    "no reason": (502, ["?"], "/a answered 502"),
    "what would move the cursor": (500, {"error": "\x1b[2J"}, "/a: \ufffd[2J"),
}


@pytest.mark.parametrize(("status", "answer", "message"), ERRORS.values(), ids=ERRORS)
async def test_errors(serve, status, answer, message):
    """What the agent says is wrong is told with its address."""

    async def refuse(_request: web.Request) -> web.Response:
        return reply(answer, status=status)

    client = await serve(Route("/a", refuse))
    with pytest.raises(OtelLatencyError, match=f"^http://127.0.0.1:[0-9]+: {re.escape(message)}$") as caught:
        await asyncio.to_thread(client.get, "/a")
    assert not isinstance(caught.value, NotFound)


async def test_not_found(serve):
    """A thing that the agent does not know is told in its words; a path that it does not have is another version."""

    async def unknown(_request: web.Request) -> web.Response:
        return reply({"error": "no such turn is known"}, status=404)

    client = await serve(Route("/a", unknown))
    for path, message in {"/a": "/a: no such turn is known", "/b": "/b: the agent has no such path: is it of"}.items():
        with pytest.raises(NotFound, match=re.escape(message)):
            await asyncio.to_thread(client.get, path)


async def test_rows(serve):
    """A list is asked for by its name; an answer without it is another version's."""

    async def rows(_request: web.Request) -> web.Response:
        return reply({"turns": [1, 2], "status": "ok"})

    client = await serve(Route("/a", rows))
    assert [1, 2] == await asyncio.to_thread(client.rows, "/a", "turns")
    for name in ("status", "sessions"):
        with pytest.raises(OtelLatencyError, match=f"/a: its answer has no {name}: is the agent of our version"):
            await asyncio.to_thread(client.rows, "/a", name)


class Moments:
    """An agent whose clock goes on between two questions; remembers when it was asked about."""

    def __init__(self):
        self.now = 1000.0
        self.asked = []

    async def rules(self):
        return {"groups": [{"name": "g", "file": "f", "rules": [RULE]}]}

    async def query(self, expression, at):
        self.now += 1
        if expression == "time()":
            return {"resultType": "scalar", "result": [self.now, str(self.now)]}
        self.asked.append((expression, at))
        return {"resultType": "vector", "result": []}


async def test_explained_at_one_moment(serve):
    """All parts of a rule are asked for at one time, the agent's."""
    agent = Moments()
    client = await serve(*PrometheusAPI(agent).routes())
    await asyncio.to_thread(explaining.ask, client, "A")
    assert sorted(agent.asked) == [(part, 1001.0) for part in ("a", "a > 1", "a > 1 and b", "b")]
