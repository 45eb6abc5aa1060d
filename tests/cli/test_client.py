"""The client of `--agent`, against a real web server."""

import asyncio

import pytest
from aiohttp import web

from otel_latency.cli import explaining
from otel_latency.cli.client import AgentClient
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
