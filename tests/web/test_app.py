"""The guard before every route, and a server that starts, stops and says what is wrong."""

import asyncio
import logging
import socket

import pytest
from aiohttp import ClientSession, web

from otel_latency.errors import ConfigError
from otel_latency.web.app import Route, WebServer, index

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "otel-latency",
}


async def ok(_request):
    return web.json_response({"ok": True})


async def broken(_request):
    raise RuntimeError("token=hunter2")


async def stream(request):
    """Sends one event and then nothing for ever, as a live stream between two events does."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: 1\n\n")
    await asyncio.Event().wait()
    return response


ROUTES = (Route("/ok", ok), Route("/open", ok, any_host=True), Route("/broken", broken), Route("/stream", stream))


async def raw(address, request):
    """What comes back for these very bytes, until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.fixture
async def server():
    running = WebServer("127.0.0.1", 0, routes=ROUTES, allowed_hosts=["Agent.Internal"])
    await running.start()
    yield running
    await running.stop()


ANSWERS = {
    "ok": ("GET", "/ok", 200, {"ok": True}),
    "not there": ("GET", "/nothing", 404, {"error": "not found"}),
    "not allowed": ("POST", "/ok", 405, {"error": "only GET and HEAD are answered here"}),
    "no preflight": ("OPTIONS", "/ok", 405, {"error": "only GET and HEAD are answered here"}),
    "a bug": ("GET", "/broken", 500, {"error": "internal error; see the agent's log"}),
}


@pytest.mark.parametrize(("method", "path", "status", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_answers(serve, method, path, status, body):
    """Every answer is JSON with the security headers, and tells nothing of what failed inside."""
    client = await serve(*ROUTES)
    async with client.request(method, path) as response:
        assert (response.status, await response.json()) == (status, body)
        assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
        assert response.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)


async def test_a_bug_is_logged(serve, caplog):
    """The path and the traceback go to the log."""
    client = await serve(*ROUTES)
    async with client.get("/broken"):
        assert "/broken failed" in caplog.text


async def test_streams_carry_the_headers(serve):
    """Headers are there before the first event."""
    client = await serve(*ROUTES)
    async with client.get("/stream") as response:
        assert await response.content.readline() == b"data: 1\n"
        assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


HOSTS = {
    "localhost": 200,
    "localhost:8080": 200,
    "LOCALHOST": 200,
    "127.0.0.1:1": 200,
    "[::1]:8080": 200,
    "agent.internal": 200,
    "attacker.example": 403,
    "localhost.attacker.example": 403,
    "127.0.0.1.attacker.example": 403,
    "attacker.example:127.0.0.1": 403,
    "localhost@attacker.example": 403,
    "[::2]": 403,
    "10.0.0.1": 403,
    "": 403,
}


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
async def test_hosts(server, host, status):
    """Only our own names are answered, but for the open routes, which come by any."""
    async with ClientSession(server.url) as client:
        async with client.get("/ok", headers={"Host": host}) as response:
            assert response.status == status
        async with client.get("/open", headers={"Host": host}) as response:
            assert response.status == 200
        async with client.get("/nothing", headers={"Host": host}) as response:
            assert response.status == (404 if status == 200 else 403)


async def test_the_address_it_came_by():
    """On all interfaces, the one that the client connected to is ours as well."""
    server = WebServer("127.0.0.1", 0, routes=ROUTES)
    server_any = WebServer("127.0.0.2", 0, routes=ROUTES)
    await server.start()
    await server_any.start()
    try:
        statuses = []
        for one in (server, server_any):
            async with ClientSession(one.url) as client, client.get("/ok", headers={"Host": "127.0.0.2"}) as response:
                statuses.append(response.status)
        assert statuses == [403, 200]
    finally:
        await server.stop()
        await server_any.stop()


HOSTILE = {
    "two hosts": b"GET /ok HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\nConnection: close\r\n\r\n",
    "no host": b"GET /ok HTTP/1.0\r\n\r\n",
    "no http": b"\x16\x03\x01\x00\xff hello\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two lengths": b"GET /ok HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_bytes(server, request_bytes, caplog):
    """What is not a request is refused, with nothing in the log."""
    status = (await raw(server.address, request_bytes)).split(b" ")[1]
    assert status in {b"400", b"403"}
    assert caplog.text == ""


async def test_stops_under_an_open_stream(server):
    """A client that never leaves does not hold up the stop: stock aiohttp waited for it."""
    async with ClientSession(server.url) as client, client.get("/stream") as response:
        await response.content.readline()
        async with asyncio.timeout(10):
            await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", client._base_url.port)


async def test_an_answer_under_way_is_finished():
    """Stopping lets a request that is being answered have its answer."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request):
        entered.set()
        await go_on.wait()
        return web.json_response({"done": True})

    server = WebServer("127.0.0.1", 0, routes=[Route("/slow", slow)])
    await server.start()
    async with ClientSession(server.url) as client:
        asking = asyncio.create_task(client.get("/slow"))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        go_on.set()
        async with await asking as response:
            assert await response.json() == {"done": True}
        await stopping


async def test_stop_is_harmless():
    """Before the start, and twice."""
    server = WebServer("127.0.0.1", 0, routes=())
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_port_taken():
    """The message names place, fact and cure."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            await WebServer("127.0.0.1", port, routes=()).start()
    assert str(caught.value) == (
        f"web: cannot listen on 127.0.0.1:{port}: Address already in use: "
        "end what listens there, or set web.host and web.port"
    )


# The second one is loopback too, so that the test stays on this machine, but written so that nobody can tell.
@pytest.mark.parametrize(("host", "warnings"), [("127.0.0.1", 0), ("127.1", 1)])
async def test_warns_when_others_may_reach_it(caplog, host, warnings):
    """Loopback is silent; any other address is said aloud."""
    server = WebServer(host, 0, routes=())
    await server.start()
    await server.stop()
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings


async def test_counts_requests(server):
    """Every request counts, whatever became of it."""
    async with ClientSession(server.url) as client:
        for path in ("/ok", "/nothing", "/broken"):
            async with client.get(path):
                pass
    assert server.request_count == 3


async def test_index(serve):
    """The page at / links to what there is, not to what needs to be told more, and a path cannot inject markup."""
    client = await serve(index(["/metrics", "/turns/{trace_id}", '/"><script>']))
    async with client.get("/") as response:
        assert response.headers["Content-Type"].startswith("text/html")
        page = await response.text()
    assert '<a href="/metrics">/metrics</a>' in page
    assert "trace_id" not in page
    assert "<script>" not in page
