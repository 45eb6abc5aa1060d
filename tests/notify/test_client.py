import gzip

import pytest
from notify.far_side import NOW, endless, reset, serving, silence, status

from otel_latency.config.values import Secret
from otel_latency.errors import NotifyError
from otel_latency.notify.client import Client
from otel_latency.outbound import MAX_REPLY


@pytest.fixture
async def client(clock):
    made = Client(clock, timeout=0.5)
    yield made
    await made.close()


async def refused(client, url):
    with pytest.raises(NotifyError) as raised:
        await client.post(url, b"{}")
    return raised.value


STATUSES = {200: None, 202: None, 299: None, 400: False, 401: False, 404: False, 413: False, 429: True, 500: True}


@pytest.mark.parametrize(("number", "is_transient"), {**STATUSES, 503: True}.items())
async def test_status(client, server, number, is_transient):
    """The status decides: up to 299 accepted, 429 and from 500 another try, else refused."""
    server.answers.append(status(number))
    if is_transient is None:
        await client.post(server.url(), b"{}")
    else:
        error = await refused(client, server.url())
        assert (f"it answered {number}", is_transient) == (str(error), error.is_transient)


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
async def test_redirect(client, server, number):
    """A redirect is refused, and not followed."""
    server.answers.append(status(number, Location=server.url("/elsewhere").reveal()))
    error = await refused(client, server.url())
    assert (False, 1) == (error.is_transient, len(server.requests))


async def test_retry_after(client, server):
    """What a server asks for is passed on, as seconds or as a date, from the header or from the body."""
    server.answers += [
        status(429, Retry_After="7"),
        status(503, Retry_After="Tue, 14 Nov 2023 22:13:50 GMT"),
        status(429, '{"retry_after": 3}'),
        status(500),
    ]
    assert [7.0, 30.0, 3.0, None] == [(await refused(client, server.url())).retry_after for _ in range(4)]


async def test_endless_body(client, server):
    """Of an answer without end the beginning is read."""
    server.answers.append(endless)
    assert MAX_REPLY == len((await client.post(server.url(), b"{}")).body)


async def test_compressed_body(client, server):
    """An answer is not unpacked, so it cannot burst."""
    packed = gzip.compress(bytes(1 << 20))

    async def bomb(_request):
        from aiohttp import web

        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    server.answers.append(bomb)
    assert packed == (await client.post(server.url(), b"{}")).body


async def test_silence_after_the_status(client, server):
    """Once the status was heard, what follows cannot undo it."""

    async def half(request):
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        return await silence(request)

    server.answers.append(half)
    assert b"half" == (await client.post(server.url(), b"{}")).body


async def test_silence_and_reset(client, server):
    """A server that does not answer, or hangs up, is worth another try."""
    server.answers += [silence, reset]
    errors = [await refused(client, server.url()) for _ in range(2)]
    assert ["no answer within 0.5 s", "it closed the connection without an answer"] == list(map(str, errors))
    assert all(error.is_transient for error in errors)


FORBIDDEN = [
    "http://169.254.169.254/",
    "http://[fe80::1%251]/",
    "http://[::ffff:169.254.169.254]/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_link_local(client, url):
    """No spelling of a link-local address is connected to."""
    assert "its address is link-local, which is not allowed" == str(await refused(client, Secret(url)))


async def test_environment(client, server, monkeypatch):
    """A proxy in the environment is not asked."""
    async with serving(status(418)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        await client.post(server.url(), b"{}")
    assert 1 == len(server.requests)


async def test_headers(client, server):
    """What is sent is JSON, with the headers that were asked for."""
    await client.post(server.url("/path"), b"[1]", {"X-Key": Secret("k")})
    path, headers, body = server.requests[0]
    assert ("/path", "application/json", "k", [1]) == (path, headers["Content-Type"], headers["X-Key"], body)


async def test_wrong_url(client):
    """A URL that is none is refused for good, without being shown."""
    error = await refused(client, Secret("http://c4n4ry:x@[/"))
    assert (False, False) == (error.is_transient, "c4n4ry" in str(error))


async def test_unknown_name(client):
    """A name that leads nowhere is worth another try."""
    error = await refused(client, Secret("http://c4n4ry.invalid/"))
    assert ("its name cannot be resolved", True) == (str(error), error.is_transient)


async def test_closing(clock):
    """Closing twice, or before anything was sent, is harmless."""
    client = Client(clock)
    await client.close()
    await client.close()
    assert NOW == clock.time()
