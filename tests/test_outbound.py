import socket
import ssl

import aiohttp
import pytest
from notify.far_side import endless, ok, serving, silence, status

from otel_latency import outbound

NOW = 1_700_000_000.0
WAITS = {
    "7": 7.0,
    "0.5": 0.5,
    "Tue, 14 Nov 2023 22:13:50 GMT": 30.0,
    "Tue, 14 Nov 2023 22:00:00 GMT": 0.0,
    "-5": 0.0,
    "1e9": 300.0,
    "nan": None,
    "inf": None,
    "soon": None,
    "": None,
}


@pytest.mark.parametrize(("header", "seconds"), WAITS.items())
def test_retry_after(header, seconds):
    """Seconds or a date, 5 minutes at most; what makes no sense is nothing."""
    assert seconds == outbound.retry_after({"Retry-After": header}, NOW)


def certificate(code):
    error = ssl.SSLCertVerificationError("c4n4ry")
    error.verify_code = code
    return error


KEY = aiohttp.client_reqrep.ConnectionKey("c4n4ry", 443, True, True, None, None, None)
FACTS = {
    "its name cannot be resolved": socket.gaierror(-2, "c4n4ry"),
    "its certificate was refused: it has expired": certificate(10),
    "its certificate was refused: it is for another host": aiohttp.ClientConnectorCertificateError(
        KEY, certificate(62)
    ),
    "its certificate was refused: it is not trusted": certificate(20),
    "the TLS handshake failed": ssl.SSLError(1, "c4n4ry"),
    "it closed the connection without an answer": aiohttp.ServerDisconnectedError("c4n4ry"),
    "connection refused": ConnectionRefusedError(111, "c4n4ry"),
    "asking failed with InvalidURL": aiohttp.InvalidURL("http://c4n4ry"),
}


@pytest.mark.parametrize(("fact", "error"), FACTS.items())
def test_explain(fact, error):
    """A failure is told in our words, which hold nothing of the address."""
    assert (fact, not isinstance(error, aiohttp.InvalidURL)) == (outbound.explain(error), outbound.may_pass(error))


async def test_start_of():
    """Of a reply without end 64 KiB are read."""
    async with (
        serving(endless) as port,
        outbound.session(timeout=5.0) as session,
        session.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert outbound.MAX_REPLY == len(await outbound.start_of(response))


async def test_guards(monkeypatch):
    """Cookies and proxies are not used, link-local addresses not connected to, and silence ends."""
    async with serving(status(200, Set_Cookie="a=b")) as port, serving(ok) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        async with outbound.session(timeout=5.0) as session:
            for _ in range(2):
                async with session.get(f"http://127.0.0.1:{port}/") as response:
                    assert "Cookie" not in response.request_info.headers
            with pytest.raises(aiohttp.ClientConnectorError) as raised:
                await session.get("http://169.254.169.254/")
    assert "its address is link-local, which is not allowed" == outbound.explain(raised.value)
    async with serving(silence) as port, outbound.session(timeout=0.2) as session:
        with pytest.raises(TimeoutError):
            await session.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(("keep_alive", "connections"), [(0.0, 2), (4.0, 1)])
async def test_connections(keep_alive, connections):
    """Each request has a connection of its own, unless connections are to be kept."""
    peers = set()

    async def note(request):
        peers.add(request.transport.get_extra_info("peername"))
        return await ok(request)

    async with serving(note) as port, outbound.session(timeout=5.0, keep_alive=keep_alive) as session:
        for _ in range(2):
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                await response.read()
    assert connections == len(peers)
