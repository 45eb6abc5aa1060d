"""Checks against real servers on loopback."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
from aiohttp import web

from otel_latency.collect.checks import Checks, explain
from otel_latency.collect.resolver import Address, Resolver
from otel_latency.config.sections import Check
from otel_latency.records import CheckResult

LOOPBACK = [Address(socket.AF_INET, "127.0.0.1")]


class Service:
    """An HTTP server whose answers a test sets; `paths` is what it was asked for."""

    def __init__(self):
        self.status = 200
        self.headers = {}
        self.paths = []
        self.asked = asyncio.Queue()
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.left = asyncio.Event()

    async def answer(self, request):
        self.paths.append(request.path_qs)
        self.asked.put_nowait(request.headers)
        await self.hangs.wait()
        return web.Response(status=self.status, headers=self.headers)

    async def endless(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            self.left.set()


@pytest.fixture
async def service():
    service = Service()
    app = web.Application()
    app.router.add_get("/endless", service.endless)
    app.router.add_get("/{path:.*}", service.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.port = site._server.sockets[0].getsockname()[1]
    yield service
    service.hangs.set()
    await runner.cleanup()


@pytest.fixture
def closed_port():
    """A port of loopback where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Results:
    """Running checks, and a way to wait for their next outcomes."""

    def __init__(self, checks):
        self.checks = checks
        self._seen = checks.results()

    async def next(self):
        """The results once each of them is newer than the one given before."""
        while any(new.time == old.time for new, old in zip(self.checks.results(), self._seen, strict=True)):
            await asyncio.sleep(0)
        self._seen = self.checks.results()
        return self._seen


@pytest.fixture
async def run(clock):
    """A function that runs checks until the test ends."""
    running = []

    def start(*checks, look_up=lambda host: LOOPBACK):
        made = Checks(checks, clock, resolver=Resolver(clock.monotonic, look_up))
        running.append(asyncio.create_task(made.run()))
        return Results(made)

    yield start
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def check(name="api", timeout=30.0, **options):
    return Check(name=name, timeout=timeout, **options)


STATUSES = {
    200: "",
    204: "",
    302: "",
    401: "",
    404: "",
    429: "",
    500: "it answered 500",
    503: "it answered 503",
}


@pytest.mark.parametrize(("status", "error"), STATUSES.items(), ids=str)
async def test_http(run, service, clock, status, error):
    """Any answer below 500 shows that the service is up; a redirect is not followed."""
    service.status, service.headers = status, {"Location": "/elsewhere"}
    [result] = await run(check(http=f"http://127.0.0.1:{service.port}/models")).next()
    assert CheckResult("api", not error, 0.0, clock.time(), False, error) == result
    assert ["/models"] == service.paths


async def test_interval(run, service, clock):
    """A check asks at once and then on its interval, each time on a fresh connection."""
    results = run(check(http=f"http://127.0.0.1:{service.port}/", interval=5.0))
    first = await service.asked.get()
    await results.next()
    await clock.advance(4.9)
    assert 1 == len(service.paths)
    await clock.advance(0.1)
    second = await service.asked.get()
    assert ("close", "close") == (first["Connection"], second["Connection"])


async def test_up_and_down(run, service, clock, caplog):
    """A service that fails is logged when it goes down and when it is back, not each time."""
    results = run(check(http=f"http://127.0.0.1:{service.port}/", interval=5.0, required=True))
    for status in (200, 503, 503, 200, 200):
        service.status = status
        if service.paths:
            await clock.advance(5.0)
        [result] = await results.next()
        assert (status < 500, True) == (result.up, result.required)
    lines = [record.getMessage() for record in caplog.records]
    assert ["check api is down: it answered 503", "check api is up again"] == lines


async def test_a_hung_service(run, service):
    """A service that does not answer is down at its deadline, and its neighbour is not kept waiting."""
    service.hangs.clear()
    hung = check("hung", timeout=0.1, http=f"http://127.0.0.1:{service.port}/")
    results = await run(hung, check("port", tcp=f"127.0.0.1:{service.port}")).next()
    assert ["no answer within 0.1 s", ""] == [result.error for result in results]


async def test_the_body_is_not_read(run, service):
    """A service that never stops sending is up as soon as its headers came, and is hung up on."""
    [result] = await run(check(http=f"http://127.0.0.1:{service.port}/endless")).next()
    await service.left.wait()
    assert result.up


async def test_tcp(run, service, closed_port):
    """A TCP check is up when a connection opens, for a name as for an address."""
    results = await run(
        check("address", tcp=f"127.0.0.1:{service.port}"),
        check("name", tcp=f"db.example:{service.port}"),
        check("closed", tcp=f"127.0.0.1:{closed_port}"),
    ).next()
    assert ["", "", "connection refused"] == [result.error for result in results]


async def test_tcp_over_ipv6(run):
    """An IPv6 address is written in brackets."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "::1", 0)
    port = server.sockets[0].getsockname()[1]
    [result] = await run(check(tcp=f"[::1]:{port}"), look_up=lambda host: [Address(socket.AF_INET6, host)]).next()
    server.close()
    assert "" == result.error


async def test_a_name_that_is_not_known(run):
    """A name without addresses is said to be that, for HTTP and TCP alike."""

    def look_up(host):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    results = await run(
        check("api", http="http://api.example/"), check("db", tcp="db.example:5432"), look_up=look_up
    ).next()
    assert ["its name cannot be resolved"] * 2 == [result.error for result in results]


async def test_a_dead_dns_server(run, service, clock):
    """While look-ups hang, a new name is down at its deadline, and one resolved before is asked where it was."""
    alive = threading.Event()
    alive.set()

    def look_up(host):
        alive.wait()
        return LOOPBACK

    url = f"http://known.example:{service.port}/"
    results = run(check("known", http=url), look_up=look_up)
    await results.next()
    alive.clear()
    await clock.advance(60.0)
    assert "" == (await results.next())[0].error
    new = check("new", timeout=0.1, http=f"http://new.example:{service.port}/")
    assert "no answer within 0.1 s" == (await run(new, look_up=look_up).next())[0].error
    alive.set()


async def test_a_server_that_hangs_up(run):
    """A server that closes the connection without an answer is down."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    [result] = await run(check(http=f"http://127.0.0.1:{port}/")).next()
    server.close()
    assert result.error in {"it closed the connection without an answer", "connection reset by peer"}


async def test_what_is_not_http(run):
    """A server that speaks something else is down, and what it said is not repeated."""

    async def speak(reader, writer):
        writer.write(b"220 mail ready for hunter2\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    [result] = await run(check(http=f"http://127.0.0.1:{port}/")).next()
    server.close()
    assert "asking failed with ClientResponseError" == result.error


@pytest.fixture
async def tls(tmp_path):
    """The port of a TLS server whose certificate nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    subprocess.run([*command, "-subj", "/CN=x", "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_tls(run, service, tls):
    """A certificate that cannot be trusted is named as the cause; so is a server without TLS."""
    untrusted = check("untrusted", http=f"https://127.0.0.1:{tls}/")
    plain = check("plain", http=f"https://127.0.0.1:{service.port}/")
    results = await run(untrusted, plain).next()
    assert [
        "its certificate was refused: self-signed certificate",
        "the TLS handshake failed",
    ] == [result.error for result in results]


async def test_no_secret_gets_out(run, service, closed_port, caplog):
    """Credentials and the query of a URL are sent to the service and shown nowhere."""
    secret = "user:hunter2@127.0.0.1:{}/models?key=hunter2"
    results = await run(
        check("down", http="http://" + secret.format(closed_port)),
        check("broken", http="https://" + secret.format(service.port)),
        check("up", http="http://" + secret.format(service.port)),
        check("hung", timeout=0.1, http="http://" + secret.format(service.port)),
    ).next()
    assert (await service.asked.get())["Authorization"].startswith("Basic ")
    assert "hunter2" not in f"{results} {caplog.text}"


async def test_results_before_the_first_answer(run, service):
    """A check that has not ended yet counts as down, and has no samples."""
    service.hangs.clear()
    results = run(check(http=f"http://127.0.0.1:{service.port}/", required=True))
    assert [CheckResult("api", False, 0.0, 0.0, True, "not checked yet")] == results.checks.results()
    assert [] == list(results.checks.collect())


async def test_samples(run, service, closed_port):
    """Each result is two samples, with the check's name for a label."""
    results = run(check("up", tcp=f"127.0.0.1:{service.port}"), check("down", tcp=f"127.0.0.1:{closed_port}"))
    await results.next()
    found = {(sample.name, sample.labels["check"]): sample.value for sample in results.checks.collect()}
    assert found == {
        ("otel_latency_check_up", "up"): 1.0,
        ("otel_latency_check_duration_seconds", "up"): 0.0,
        ("otel_latency_check_up", "down"): 0.0,
        ("otel_latency_check_duration_seconds", "down"): 0.0,
    }


def test_explain_an_unknown_fault():
    """A fault that nobody thought of is named by its kind alone."""
    assert "asking failed with ValueError" == explain(ValueError("hunter2"))
