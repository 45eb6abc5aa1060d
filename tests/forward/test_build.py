import asyncio
from contextlib import asynccontextmanager

import pytest
from forward.conftest import MemoryLog, spans
from forward.pems import PEMs

from otel_latency.config.sections import ForwardDestination, ForwardTLS
from otel_latency.config.values import Duration, Secret
from otel_latency.errors import ConfigError
from otel_latency.forward.build import build, faults_of_files, reader_name
from otel_latency.testing import FakeClock

NAMES = {
    "http://tempo:4318": ("tempo:4318", "http://tempo:4318"),
    "https://otlp.example.com/tenant/t0k3n": ("otlp.example.com:443", "https://otlp.example.com:443"),
    "http://tempo": ("tempo:80", "http://tempo:80"),
    "grpc://tempo": ("tempo:4317", "grpc://tempo:4317"),
    "grpcs://[2001:db8::1]": ("[2001:db8::1]:443", "grpcs://[2001:db8::1]:443"),
}


def section(endpoint="http://tempo:4318", **fields):
    return ForwardDestination(endpoint=endpoint, **fields)


@pytest.mark.parametrize(("endpoint", "shown"), NAMES.items())
async def test_names(endpoint, shown, clock):
    """A destination is called by its host and port; what else is in its address is not shown."""
    forwarder = build([section(endpoint)], lambda _: MemoryLog(), clock)
    (destination,) = forwarder.destinations
    assert shown == (destination.name, destination.url)
    assert "t0k3n" not in str(forwarder.status())
    await forwarder.close()
    await forwarder.close()


async def test_readers(clock):
    """Each destination has a reader of its own, under a name that stays when others come and go."""
    asked = []

    def source(name):
        asked.append(name)
        return MemoryLog()

    sections = [section(), section("grpc://tempo"), section("http://other", name="backup")]
    await build(sections, source, clock).close()
    assert ["forward:tempo:4318", "forward:tempo:4317", "forward:backup"] == asked == [*map(reader_name, sections)]


@asynccontextmanager
async def running(forwarder):
    task = asyncio.create_task(forwarder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await forwarder.close()


async def test_everywhere(sink, far_grpc, clock):
    """Everything goes to every destination, each in its way."""
    logs = {}
    sections = [
        section(f"http://127.0.0.1:{sink.port}"),
        section(f"grpc://127.0.0.1:{far_grpc.port}", compression="none", headers={"X-Key": Secret("k")}),
        section(f"http://127.0.0.1:{sink.port}/kept", name="kept", content="keep", compression="none"),
        section(f"http://127.0.0.1:{sink.port}/less", name="less", drop_attributes=["shop.*"], timeout=Duration(1.0)),
    ]
    forwarder = build(sections, lambda name: logs.setdefault(name, MemoryLog()), clock)
    body = spans("chat", input__value="canary", shop__cart="7")
    for log in logs.values():
        log.append(body)
    async with running(forwarder):
        await sink.has(3)
        await far_grpc.has(1)
    got = {arrival.path: arrival.body for arrival in sink.arrivals}
    clean = spans("chat", shop__cart="7")
    assert {"/v1/traces": clean, "/kept/v1/traces": body, "/less/v1/traces": spans("chat")} == got
    assert ([clean], "k") == (far_grpc.bodies, far_grpc.arrivals[0].headers["x-key"])


async def test_json_for_grpc(far_grpc, clock):
    """What came as JSON reaches a gRPC destination as protobuf."""
    log = MemoryLog()
    log.append(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"chat"}]}]}]}', is_json=True)
    async with running(build([section(f"grpc://127.0.0.1:{far_grpc.port}")], lambda _: log, clock)):
        await far_grpc.has(1)
    assert b"chat" in far_grpc.bodies[0]
    assert b"{" not in far_grpc.bodies[0]


@pytest.fixture
def pems(tmp_path):
    return PEMs(tmp_path)


UNREADABLE = "the file cannot be read (No such file or directory): check the name and its rights"
UNUSABLE = "the file cannot be used"
WRONG = {
    "no header": (
        lambda pems: section(header_files={"x-key": "/nowhere"}),
        f"forward[0].header_files.x-key: {UNREADABLE}",
    ),
    "no ASCII": (
        lambda pems: section(header_files={"x-key": pems.strange_file}),
        "forward[0].header_files.x-key: the file has characters that no header has: write the value in ASCII",
    ),
    "no authority": (
        lambda pems: section("https://tempo", tls=ForwardTLS(ca_file="/nowhere")),
        f"forward[0].tls.ca_file: {UNREADABLE}",
    ),
    "no PEM": (
        lambda pems: section("https://tempo", tls=ForwardTLS(ca_file=pems.key_file)),
        f"forward[0].tls.ca_file: {UNUSABLE}: write the name of a PEM file",
    ),
    "no key": (
        lambda pems: section("grpcs://tempo", tls=ForwardTLS(cert_file=pems.cert_file, key_file="/nowhere")),
        f"forward[0].tls.cert_file or key_file: {UNREADABLE}",
    ),
    "another's key": (
        lambda pems: section("grpcs://tempo", tls=ForwardTLS(cert_file=pems.ca_file, key_file=pems.key_file)),
        f"forward[0].tls.cert_file: {UNUSABLE}: write a certificate and its key, in PEM, without a password",
    ),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_files(make, message, pems):
    """A file that cannot be used is told at the start, with its place and a cure."""
    wrong = make(pems)
    with pytest.raises(ConfigError) as raised:
        build([wrong], lambda _: MemoryLog(), FakeClock())
    assert message == str(raised.value)
    assert [message] == [str(fault) for fault in faults_of_files([wrong, section()])]


def test_no_faults(pems):
    """Files that are right are not told."""
    tls = ForwardTLS(ca_file=pems.ca_file, cert_file=pems.cert_file, key_file=pems.key_file)
    assert [] == faults_of_files([section(), section("https://tempo", tls=tls), section("grpcs://tempo", tls=tls)])
